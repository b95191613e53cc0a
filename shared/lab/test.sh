#!/usr/bin/env bash
# test.sh: every demo as a test, and that a demo leaves the machine as it was,
# however it ends. Its last line is "N passed, N failed"; the exit code says the
# same. It starts no demo inside another's network, and needs no terminal.
set -uo pipefail
lab=$(cd "$(dirname "$0")" && pwd)
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

# with_mark CMD...: replaces the (sub)shell by CMD, marked, with no terminal.
with_mark() { exec env "$mark" "$@" </dev/null >"$work/log" 2>&1; }
demo() { timeout --foreground "$LIMIT" "$root/$1/demo.sh"; }

echo "== The snapshot sees a change of each kind"
expect "links, addresses, routes, rules, firewall, kernel, resolver, names, mounts" \
	"$lab/enter" "$lab/snapshot.sh" prove
iptables-save >/dev/null 2>&1 || echo "  (not root: the firewall of this machine cannot be read, so it is not compared)"

echo "== What the lab says where something is missing"
expect "programs, the TUN device, namespaces: what is wrong and what to do" \
	"$lab/enter" "$lab/setup-test.sh"

take before
echo "== Every demo"
for step in "${steps[@]%/}"; do
	expect "$step/demo.sh" demo "$step"
	expect "$step leaves the machine as it was" unchanged
done

echo "== Ended in the middle ($latest)"
# begin CMD...: starts it in a process group of its own, as a terminal does, and
# returns when a program of the step runs; $leader is the group.
begin() {
	set -m
	(with_mark "$@") &
	leader=$!
	set +m
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

begin make -C "$latest" demo
expect "the search for leftovers sees a running demo" programs_run
kill -INT -- -"$leader" 2>/dev/null
expect "Ctrl-C ends it with exit code 130, and all its processes" ended 130
expect "and the machine is as it was" unchanged

begin "$latest/demo.sh"
kill -TERM "$leader" 2>/dev/null
expect "SIGTERM ends it with exit code 143, and all its processes" ended 143
expect "and the machine is as it was" unchanged

begin make demo
killed "$leader"
expect "kill -9 of make ends all its processes" until_true 20 none_left
expect "and the machine is as it was" unchanged

echo "== kill -9 of each process between make and the demo's programs ($first)"
# child PID: one of its children. Those that sleep keep the hosts' mount namespaces.
child() {
	marked | while read -r pid; do
		grep -qsx "PPid:[[:space:]]*$1" "/proc/$pid/status" && ! grep -qsx sleep "/proc/$pid/comm" && echo "$pid" && break
	done
}
# Outermost first: make, enter, unshare, process 1 inside, the demo.
for depth in 0 1 2 3 4; do
	begin make -C "$first" demo
	victim=$leader
	for ((i = 0; i < depth; i++)); do victim=$(child "$victim"); done
	name=$(tr '\0' ' ' <"/proc/$victim/cmdline" | cut -c 1-60)
	killed "$victim"
	expect "no process is left without: $name" until_true 20 none_left
done
expect "the machine is as it was" unchanged

echo "== After kill -9, two at the same time ($latest)"
begin "$latest/demo.sh"
killed "$leader"
demo "$latest" >"$work/one" 2>&1 &
one=$!
demo "$latest" >"$work/two" 2>&1 &
two=$!
result() { wait "$1" || { cat "$work/$2" && return 1; }; }
expect "the first" result $one one
expect "the second" result $two two
expect "the machine is as it was" unchanged

echo "== As an ordinary user ($latest)"
# A copy of the course, of their own. Of root's Go, only what was downloaded and
# built is visible, and so is a /dev/net/tun that they may open: it is mounted
# over the machine's, where only this test sees it.
as_user() {
	local home=$work/home uid=12321
	mkdir -p "$home"/{course,mod,goroot,.cache/go-build}
	tar -C "$root" --exclude=./.git --exclude=./.cache --exclude='./*/bin' --exclude='./*/out' -cf - . | tar -C "$home/course" -xf - || return
	chmod 755 "$work"
	chown -R $uid:$uid "$home"
	# What root's Go has built of the standard library saves a minute. The files
	# are root's, by hard links; where that cannot be, the build takes longer.
	cp -al "$(go env GOCACHE)/." "$home/.cache/go-build/" 2>/dev/null
	find "$home/.cache" -type d -exec chown $uid:$uid {} +
	# shellcheck disable=SC2016 # expanded there
	timeout --foreground "$LIMIT" unshare --mount bash -euc '
		home=$1 uid=$2 step=$3
		mount -t tmpfs -o dev,mode=755 lab /dev/net
		mknod -m 666 /dev/net/tun c 10 200
		mount --bind "$GOMODCACHE" "$home/mod"
		mount --bind "$GOROOT" "$home/goroot"
		exec env -i HOME="$home" PATH="$home/goroot/bin:/usr/bin:/bin" GOMODCACHE="$home/mod" GOPROXY=off GOTOOLCHAIN=local NO_COLOR=1 \
			setpriv --reuid=$uid --regid=$uid --clear-groups "$home/course/$step/demo.sh"
	' as-user "$home" $uid "$latest" || return
	[ "$(stat -c %u "$home/course/$latest/out/demo.txt")" = $uid ]
}
if [ "$(id -u)" = 0 ]; then
	GOMODCACHE=$(go env GOMODCACHE) GOROOT=$(go env GOROOT)
	export GOMODCACHE GOROOT
	expect "all of the demo, without root" as_user
	expect "the machine is as it was" unchanged
else
	echo "  (this whole run is one)"
fi

echo "== make walk, at a terminal ($first)"
# type TEXT: at the keyboard of the terminal that script(1) plays.
type() { printf '%s' "$1" >&3; }
prompts() { grep -c '\[Enter\]' "$work/screen"; }
prompted() { [ "$(prompts)" -gt "$1" ] || [ ! -e "/proc/$leader" ]; }
# walk: starts it; the keyboard is file descriptor 3.
walk() {
	rm -f "$work/keys" "$work/screen" && mkfifo "$work/keys" && touch "$work/screen"
	# In the background bash ignores SIGINT; env undoes that.
	env --default-signal=INT,QUIT "$mark" script -qefc "make -C $first walk" "$work/screen" <"$work/keys" >/dev/null 2>&1 &
	leader=$!
	exec 3>"$work/keys"
}
walks() {
	local i acts
	acts=$(grep -c '^act ' "$first/demo.sh")
	for ((i = 0; i < acts; i++)); do
		if ! until_true 60 prompted "$i" || [ "$(prompts)" != $((i + 1)) ]; then
			cat "$work/screen"
			return 1
		fi
		type $'\n'
	done
	exec 3>&-
	wait "$leader" || { cat "$work/screen" && return 1; }
}
walk
expect "it waits for Enter before each act, and passes" walks
walk
until_true 60 prompted 0
type $'\x03'
expect "Ctrl-C while it waits ends it with exit code 130" ended 130
exec 3>&-
expect "the machine is as it was" unchanged

echo "$passed passed, $failed failed"
[ $failed = 0 ]
