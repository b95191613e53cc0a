# shellcheck shell=bash
# What the scripts share that test demos from the outside (test.sh, interrupt.sh).
# They source it. The working folder is the course's then.
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
LIMIT=300 # seconds for one demo

passed=0 failed=0
pass() { passed=$((passed + 1)) && echo "  passed  $1"; }
fail() { failed=$((failed + 1)) && echo "  FAILED  $1"; }
took() { [ "$1" -lt 2 ] || echo " ($1 s)"; }
# expect TEXT CMD...: passes if CMD succeeds; else shows what it said.
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
# What this test itself left running is found by its mark, see below.
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
# inherit. So nothing that a demo started can hide, wherever it went.
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

# with_mark CMD...: replaces the (sub)shell by CMD, marked, with no terminal. Whoever
# started the test in the background may have made it ignore SIGINT.
with_mark() { exec env --default-signal=INT,QUIT,TERM "$mark" "$@" </dev/null >"$work/log" 2>&1; }
demo() { timeout --foreground "$LIMIT" "$root/$1/demo.sh"; }

# launch CMD...: starts it in a process group of its own, as a terminal does; $leader
# is the group. begin CMD...: as launch, and returns when a program of the step runs.
launch() {
	set -m
	(with_mark "$@") &
	leader=$!
	set +m
}
begin() {
	launch "$@"
	until_true 60 programs_run || { fail "'$*' comes to start a program" && cat "$work/log"; }
}
# killed PID: kill -9. If it is the leader, bash has it behind it.
killed() {
	kill -KILL "$1"
	[ "$1" != "$leader" ] || wait "$1"
} 2>/dev/null
# ended CODE: succeeds if it ends, with that exit code, and leaves no process.
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
