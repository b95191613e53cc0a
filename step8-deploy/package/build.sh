#!/usr/bin/env bash
# build.sh [ARCH...]: makes $OUT/stepvpn_VERSION_ARCH.deb, for amd64 and arm64 if none is named;
# OUT is the folder out/ if it is not set.
# The version and the date of all files are those of the newest entry in package/changelog;
# VERSION in the environment is another version. The same source gives the same bytes, whoever
# builds it, and where.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022

newest() { sed -n "$1" package/changelog | head -n 1; }
VERSION=${VERSION:-$(newest 's/^stepvpn (\(.*\)) .*/\1/p')}
SOURCE_DATE_EPOCH=$(date -d "$(newest 's/^ -- .*>  //p')" +%s)
export VERSION SOURCE_DATE_EPOCH

here=$PWD/package
# nfpm's version is in a go.mod of its own, apart from those of the course.
nfpm=$(cd .. && pwd)/.cache/nfpm
OUT=${OUT:-out}
mkdir -p "$OUT" "${nfpm%/*}"
if [ -n "${SUDO_UID-}" ]; then chown "$SUDO_UID:${SUDO_GID-}" "$OUT" "${nfpm%/*}"; fi
if ! cmp -s ../shared/tools/nfpm/go.mod "$nfpm.version"; then
	(cd ../shared/tools/nfpm && GOWORK=off GOFLAGS='' go build -buildvcs=false -o "$nfpm" github.com/goreleaser/nfpm/v2/cmd/nfpm)
	cp ../shared/tools/nfpm/go.mod "$nfpm.version"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ $# -gt 0 ] || set -- amd64 arm64
# The scripts that dpkg runs, with the units that the Makefile names, and the users of sysusers.d.
services=$(make --silent --no-print-directory services)
named() { awk -v type="$1" '$1 == type { printf "%s%s", sep, $2; sep = " " }' units/stepvpn.sysusers; }
mkdir "$work/package"
for script in postinst prerm postrm; do
	sed "s/@SERVICES@/$services/; s/@USERS@/$(named u)/; s/@GROUPS@/$(named g)/" package/$script >"$work/package/$script"
done
for ARCH; do
	STAGE=$work/$ARCH
	export ARCH STAGE
	GOARCH=$ARCH CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags "-s -w -X main.release=$VERSION" -o "$work/stepvpn-$ARCH" ./cmd/stepvpn
	GOARCH=$ARCH CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags "-s -w -X main.release=$VERSION" -o "$work/stepvpn-web-$ARCH" ./further/dashboard/cmd/stepvpn-web
	make --silent --no-print-directory install DESTDIR="$STAGE" PREFIX=/usr program="$work/stepvpn-$ARCH" webprogram="$work/stepvpn-web-$ARCH" >/dev/null \
		unitdir=/usr/lib/systemd/system usersdir=/usr/lib/sysusers.d tmpdir=/usr/lib/tmpfiles.d zshdir=/usr/share/zsh/vendor-completions

	# What Debian wants besides that (debian-policy(7), chapter 12).
	doc=$STAGE/usr/share/doc/stepvpn
	gzip -9n <package/changelog >"$doc/changelog.gz"
	{
		printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\n'
		sed -n 's/^Copyright (c) /Copyright: /p' ../LICENSE
		printf 'License: MIT\n'
		sed -n '/^Permission/,$p' ../LICENSE | sed 's/^$/./; s/^/ /'
	} >"$doc/copyright"
	find "$STAGE/usr/share/man" -type f -exec gzip -9n {} +
	install -D -m 644 package/lintian-overrides "$STAGE/usr/share/lintian/overrides/stepvpn"

	to=$OUT/stepvpn_${VERSION}_$ARCH.deb
	(cd "$work" && "$nfpm" package --config "$here/nfpm.yaml" --packager deb --target new.deb) >"$work/log" || { cat "$work/log" >&2; exit 1; }
	mv "$work/new.deb" "$to"
	if [ -n "${SUDO_UID-}" ]; then chown "$SUDO_UID:${SUDO_GID-}" "$to"; fi
	echo "$to"
done
