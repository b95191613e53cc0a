#!/usr/bin/env bash
# lint.sh: gofmt, go vet and staticcheck in every module of the workspace; go vet
# for a machine with 32 bits, too, and in "make soak" for two more. The first time
# that costs a minute each, because the standard library is compiled; then a second.
# Finally come the numbers and differences that the READMEs show of the source.
set -euo pipefail
cd "$(dirname "$0")/../.."

unformatted=$(gofmt -l .)
if [ -n "$unformatted" ]; then
	printf 'lint: not formatted, run gofmt -w on:\n%s\n' "$unformatted" >&2
	exit 1
fi

# The version of staticcheck is in shared/tools/go.mod, apart from the modules of the
# course, so that these do not depend on it.
mkdir -p .cache
if [ -n "${SUDO_UID-}" ]; then chown "$SUDO_UID:${SUDO_GID-}" .cache; fi
staticcheck=$PWD/.cache/staticcheck
(cd shared/tools && GOWORK=off go build -buildvcs=false -o "$staticcheck" honnef.co/go/tools/cmd/staticcheck)

packages=(./shared/...)
for step in step*-*/; do packages+=("./$step..."); done
others=(386)
[ "${STEPVPN_SOAK-}" != 1 ] || others+=(arm arm64)
for arch in "$(go env GOARCH)" "${others[@]}"; do
	echo "== go vet for $arch"
	GOARCH=$arch go vet "${packages[@]}"
done
echo "== staticcheck"
"$staticcheck" "${packages[@]}"

echo "== READMEs: lines, differences, usages"
shopt -s nullglob # there may be no chapter
go run stepvpn/shared/readme -check -no-demo README.md step*-*/README.md step*-*/further/*/README.md
