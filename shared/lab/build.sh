#!/usr/bin/env bash
# build.sh: builds the programs of the step in the working folder into bin/, and also
# the lab's web site, and its DNS server if a script of the step starts one. A chapter
# gets the programs of its step, too, as it is a part of them. Several build.sh may run
# at the same time.
set -euo pipefail

command -v go >/dev/null || {
	echo "build: there is no 'go' in PATH." >&2
	echo "  What to do: install Go from https://go.dev/dl; with sudo: sudo env PATH=\"\$PATH\" make demo" >&2
	exit 1
}
mkdir -p bin
exec 9>bin/.lock
flock -w 300 9
lab=(stepvpn/shared/lab/web)
if grep -qs serve_dns ./*.sh; then lab+=(stepvpn/shared/lab/dns); fi
# Without cgo, the programs are static: they run on any Linux, and need no libraries. Without
# the folder's name in them (-trimpath), what one copy of the course has built serves another.
programs=()
[ ! -d cmd ] || programs+=(./cmd/...)
[ -e go.mod ] || programs+=(../../cmd/...)
CGO_ENABLED=0 setpriv --pdeathsig TERM go build -buildvcs=false -trimpath -o bin/ "${programs[@]}" "${lab[@]}"
if [ -n "${SUDO_UID-}" ]; then chown -R "$SUDO_UID:${SUDO_GID-}" bin; fi
