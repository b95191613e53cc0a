#!/usr/bin/env bash
# unpack.sh FOLDER PACKAGE...: downloads Debian packages, with all that they need
# and this machine lacks, and unpacks each into FOLDER/PACKAGE. Nothing is
# installed: systemd-resolved's installation would replace /etc/resolv.conf. What
# is there already is not fetched again. It takes no root.
set -euo pipefail
folder=$1
shift

if ! command -v apt-get dpkg-deb >/dev/null; then
	echo "unpack.sh: no apt-get here: these tests take $* from Debian or Ubuntu" >&2
	exit 1
fi
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
exec 9>"$folder/.lock"
flock -w 300 9

work=$(mktemp -d "$folder/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
# apt OPTION... ARG...: keeps all its files in the work folder.
apt() {
	apt-get -q -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" -o Dir::Cache="$work/cache" "$@" >"$work/log" 2>&1 </dev/null
}
for package; do
	[ ! -e "$folder/$package" ] || continue
	rm -rf "$work/cache" "$work/root"
	mkdir -p "$work/cache/archives/partial" "$work/root"
	# What depends on one very version of a library gets that along.
	along=()
	[ "$package" != systemd-resolved ] || along=(libsystemd-shared libsystemd0)
	download=(-y --download-only --no-install-recommends --reinstall install "$package" "${along[@]}")
	# The machine's lists may be missing or old: then fetch some to use instead.
	lists=(-o Dir::State::Lists="$work/lists")
	if ! apt "${download[@]}"; then
		mkdir -p "$work/lists/partial"
		if ! apt "${lists[@]}" update || ! apt "${lists[@]}" "${download[@]}"; then
			cat "$work/log" >&2
			echo "unpack.sh: the package $package cannot be downloaded, see above" >&2
			exit 1
		fi
	fi
	for deb in "$work"/cache/archives/*.deb; do
		dpkg-deb -x "$deb" "$work/root"
	done
	mv "$work/root" "$folder/$package"
done
