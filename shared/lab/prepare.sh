#!/usr/bin/env bash
# prepare.sh [--whole] FOLDER...: prepares what the demo of the step in the first folder
# needs from the machine itself: installed programs, the TUN device, and the programs of the
# step and of the steps in the other folders, which are relative to the first. Everything
# that writes to these folders, or needs the internet, happens here. With --whole it fails
# if a program lacks a piece that a learner is about to write, and says which one.
set -euo pipefail
lab=$(cd "$(dirname "$0")" && pwd)
whole=
[ "$1" != --whole ] || { whole=1 && shift; }
cd "$1"

if [ -n "$whole" ] && command -v go >/dev/null; then # without go, build.sh says what to do
	setpriv --pdeathsig TERM go run stepvpn/shared/exercise pieces >/dev/null
fi
"$lab/setup.sh"
# Every step from 2 on opens a TUN device, and so does a chapter, which has no go.mod.
if [ ! -e go.mod ] || grep -q stepvpn/step2-tun go.mod; then "$lab/setup.sh" tun; fi
for dir in . "${@:2}"; do
	# If this script is killed, make is ended, too.
	env -u MAKEFLAGS -u MAKELEVEL setpriv --pdeathsig TERM make --silent --directory="$dir" build judges
done
