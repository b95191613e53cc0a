#!/usr/bin/env bash
# open.sh [HOST]: opens the lab, with the programs of the step in the working folder, and a shell on a host in it ("make lab";
# alice if none is named). In another terminal the same command gives another shell in the same lab. The lab is closed
# when the last of its shells has ended, however that happens.
#
#   shell ── holds a shared lock on out/.lab; the lab waits for an exclusive one
#   lab   ── enter ── unshare ── init ── open.sh --inside, apart from any terminal
set -euo pipefail
self=$(readlink -f "$0")
lab=${self%/*}
PATH=$PATH:/usr/sbin:/sbin
host=${1-alice}

# in_namespace KIND NAMESPACE: prints the first process that is in it.
in_namespace() {
	local process
	for process in $(printf '%s\n' /proc/[0-9]* | sort -t/ -k3n); do
		[ "$(readlink "$process/ns/$1")" != "$2" ] || { echo "${process#/proc/}" && return; }
	done 2>/dev/null
	return 1
}

case $host in
--keep) # the lab itself, on the machine
	exec "$lab/enter" "$self" --inside
	;;
--inside) # the lab itself, in its namespaces
	"$lab/topology.sh" up
	eval "$("$lab/topology.sh" show)"
	if [ -x bin/web ]; then
		nsenter --net=/run/netns/web --mount=/run/mntns/web env --chdir="$PWD" bin/web >/run/lab/web.log 2>&1 &
	fi
	echo "$(readlink /proc/self/ns/pid) $(readlink /proc/self/ns/net)" >out/.lab
	# The shell that has opened the lab holds the lock by now.
	exec 8<out/.lab.lock
	flock --exclusive 8
	: >out/.lab
	exit
	;;
--join) # in the namespaces of the lab's init: on to those of --inside, which an ordinary user's lab has besides
	process=$(in_namespace net "$(cut -d' ' -f2 out/.lab)")
	user=(--user --preserve-credentials)
	[ "$(readlink /proc/self/ns/user)" != "$(readlink "/proc/$process/ns/user")" ] || user=()
	exec nsenter --target "$process" "${user[@]}" --net --mount env --chdir="$PWD" "$self" --shell "$2"
	;;
--shell) # a shell, in the lab's namespaces
	export LAB_HOST=$2 LAB_FOLDER=$lab
	exec 7</proc/self/ns/mnt # a host's folders don't show those of the others
	exec nsenter --net="/run/netns/$2" --mount="/run/mntns/$2" env --chdir="$PWD" bash --rcfile "$lab/shell.rc" -i
	;;
alice | bob | cafe | internet | server | web) ;;
*)
	echo "make lab: there is no host '$host': the hosts are alice, bob, cafe, internet, server and web" >&2
	exit 2
	;;
esac

# init: prints the process id of the lab's first process.
init() {
	local namespace
	namespace=$(cut -d' ' -f1 out/.lab)
	[ -n "$namespace" ] && in_namespace pid "$namespace"
}

mkdir -p out
touch out/.lab out/.lab.lock
exec 9<out/.lab.lock
flock --shared 9
process=$(init) || process=
if [ -z "$process" ]; then
	"$lab/prepare.sh" "$PWD"
	: >out/.lab
	setsid "$self" --keep </dev/null >out/lab.log 2>&1 9<&- &
	keeper=$!
	until process=$(init); do
		kill -0 "$keeper" 2>/dev/null || { echo "make lab: the lab could not be opened:" >&2 && cat out/lab.log >&2 && exit 1; }
		sleep 0.05
	done
fi
# An ordinary user is root in the namespaces only.
user=()
[ "$(id -u)" = 0 ] || user=(--user --preserve-credentials)
# The lock stays open in the shell and its children: it is this script's, which waits.
nsenter --target "$process" "${user[@]}" --net --mount --pid env --chdir="$PWD" "$self" --join "$host" 9<&- || true
