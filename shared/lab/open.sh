#!/usr/bin/env bash
# open.sh [HOST]: opens the lab, with the programs of the step in the working folder, and a shell on a host in it ("make lab";
# alice if none is named). In another terminal the same command gives another shell in the same lab. The lab is closed
# when the last of its shells has ended, however that happens.
#
#   terminal ─ socat ─── out/.lab.sock ─── socat ─ shell on alice
#                                            └ open.sh --inside ─ init ─ unshare ─ enter: apart from any terminal
#
# A terminal holds a shared lock on out/.lab.lock, and the lab waits for an exclusive one. That the shells are the lab's
# own children makes it work for an ordinary user, too, who could not enter its namespaces later.
set -euo pipefail
self=$(readlink -f "$0")
lab=${self%/*}
PATH=$PATH:/usr/sbin:/sbin
host=${1-alice}
socket=out/.lab.sock

case $host in
--keep) # the lab, on the machine
	exec "$lab/enter" "$self" --inside
	;;
--inside) # the lab, in its namespaces
	"$lab/topology.sh" up
	eval "$("$lab/topology.sh" show)"
	nsenter --net=/run/netns/web --mount=/run/mntns/web env --chdir="$PWD" bin/web >/run/lab/web.log 2>&1 &
	export LAB_FOLDER=$lab
	socat "UNIX-LISTEN:$socket,fork,mode=600,unlink-early" "EXEC:$(realpath --relative-to=. "$self") --shell,pty,setsid,ctty,stderr,echo=0" &
	exec 8<out/.lab.lock
	flock --exclusive 8
	exit
	;;
--shell) # a shell, in the lab's namespaces. The socket's name at the other end says for which host, and how large the terminal is
	IFS=. read -r _ _ host rows columns _ <<<"${SOCAT_PEERADDR##*/}"
	[ "$host" != probe ] || exit 0 # is_open
	stty sane rows "$rows" columns "$columns"
	export LAB_HOST=$host
	exec 7</proc/self/ns/mnt # a host's folders don't show those of the others
	exec nsenter --net="/run/netns/$host" --mount="/run/mntns/$host" env --chdir="$PWD" bash --rcfile "$lab/shell.rc" -i
	;;
alice | bob | cafe | internet | server | web) ;;
*)
	echo "make lab: there is no host '$host': the hosts are alice, bob, cafe, internet, server and web" >&2
	exit 2
	;;
esac

[ -t 0 ] || { echo "make lab: it needs a terminal: standard input is none" >&2 && exit 1; }
is_open() { socat -u OPEN:/dev/null "UNIX-CONNECT:$socket,bind=out/.lab.probe.$$" 2>/dev/null; }
mkdir -p out
touch out/.lab.lock
exec 9<out/.lab.lock
flock --shared 9
exec 8>out/.lab.opening # of two terminals at the same moment, one opens the lab
flock --nonblock 8 || { echo "make lab: another terminal is opening the lab: this one waits for it" >&2 && flock 8; }
if ! is_open; then
	"$lab/setup.sh" socat
	"$lab/prepare.sh" "$PWD"
	setsid "$self" --keep </dev/null >out/lab.log 2>&1 8>&- 9<&- &
	keeper=$!
	until is_open; do
		kill -0 "$keeper" 2>/dev/null || { echo "make lab: the lab could not be opened:" >&2 && cat out/lab.log >&2 && exit 1; }
		sleep 0.05
	done
fi
exec 8>&-
read -r rows columns < <(stty size)
socat -,raw,echo=0 "UNIX-CONNECT:$socket,bind=out/.lab.$host.$rows.$columns.$$" 9<&- || true
