# shellcheck shell=bash
# Functions for the scripts that test demos from the outside: test.sh and interrupt.sh
# source this file. It changes to the course's folder.
set -uo pipefail
lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$lab/../.." && pwd)
cd "$root" || exit
PATH=$PATH:/usr/sbin:/sbin
export NO_COLOR=1
unset WALK MAKEFLAGS MAKELEVEL

steps=(step*-*/)
first=${steps[0]%/}
latest=${steps[-1]%/}
mapfile -t chapters < <(compgen -G 'step*-*/further/*/README.md' | sort | sed 's|/README.md$||')
demos=("${steps[@]%/}" "${chapters[@]}") # the folders that have a demo.sh
LIMIT=300 # seconds for one demo

passed=0 failed=0
pass() { passed=$((passed + 1)) && echo "  passed  $1"; }
fail() { failed=$((failed + 1)) && echo "  FAILED  $1"; }
took() { [ "$1" -lt 2 ] || echo " ($1 s)"; }
# expect TEXT CMD...: passes if CMD succeeds; else shows the end of CMD's output.
expect() {
	local text=$1 begin=$SECONDS
	shift
	if "$@" >"$work/said" 2>&1; then
		pass "$text$(took $((SECONDS - begin)))"
	else
		fail "$text$(took $((SECONDS - begin)))"
		tail -n 40 "$work/said" | sed 's/^/          /'
	fi
}

work=$(mktemp -d)
# Processes that this test has left running are found by their mark, see below.
clean_up() {
	local pid
	for pid in $(marked); do kill -KILL "$pid" 2>/dev/null; done
	rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# until_true SECS CMD...: polls; fails when the time is up.
until_true() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.02
	done
}

# Every process of a demo carries a mark in its environment, which its children
# inherit. So no process that a demo has started can hide.
mark=STEPVPN_TEST=$$.$RANDOM
marked() { grep -lzsx "$mark" /proc/[0-9]*/environ | grep -o '[0-9]*'; }
none_left() { [ -z "$(marked)" ]; }
# programs_run: succeeds while a program of the step runs.
programs_run() {
	local pid
	for pid in $(marked); do
		[[ $(readlink "/proc/$pid/exe") == "$root"/step*/bin/* ]] && return
	done 2>/dev/null
	return 1
}

take() { rm -rf "${work:?}/$1" && "$lab/snapshot.sh" take "$work/$1"; }
unchanged() { take after && "$lab/snapshot.sh" compare "$work/before" "$work/after"; }

# with_mark CMD...: replaces the (sub)shell by CMD, marked, with no terminal. It resets
# SIGINT, which is ignored if the test was started in the background.
with_mark() { exec env --default-signal=INT,QUIT,TERM "$mark" "$@" </dev/null >"$work/log" 2>&1; }
demo() { timeout --foreground "$LIMIT" "$root/$1/demo.sh"; }

# launch CMD...: starts it in a process group of its own, as a terminal does; $leader
# is the group. begin CMD...: as launch, and returns when the demo says that it starts a
# program of the step. (A look at all processes may come too late on a busy machine.)
launch() {
	: >"$work/log"
	set -m
	(with_mark "$@") &
	leader=$!
	set +m
}
starts() { [[ $(<"$work/log") == *"# bin/"* ]]; }
begin() {
	launch "$@"
	until_true 120 starts || { fail "'$*' comes to start a program" && cat "$work/log"; }
}
# killed PID: kill -9. It reaps the process if that is the leader.
killed() {
	kill -KILL "$1"
	[ "$1" != "$leader" ] || wait "$1"
} 2>/dev/null
# ended CODE: succeeds if the leader ends with that exit code, and no process is left.
ended() {
	if ! until_true 20 none_left; then
		echo "still there:"
		marked | while read -r pid; do tr '\0' ' ' <"/proc/$pid/cmdline" && echo; done
		return 1
	fi
	local code=0
	wait "$leader" || code=$?
	if [ $code != "$1" ]; then
		echo "exit code $code, not $1; it said:"
		tail -n 5 "$work/log"
		return 1
	fi
}
