#!/usr/bin/env bash
# test.sh: runs every demo as a test, and checks that a demo leaves the machine as it was,
# however the demo ends. The last line is "N passed, N failed"; the exit code is 0 if none
# failed. It starts no demo inside another's network, and needs no terminal.
. "$(dirname "$0")/expect.sh"

echo "== The snapshot sees a change of each kind"
expect "links, addresses, routes, rules, firewall, kernel, resolver, names, mounts" \
	"$lab/enter" "$lab/snapshot.sh" prove
iptables-save >/dev/null 2>&1 || echo "  (not root: the firewall of this machine cannot be read, so it is not compared)"

echo "== What the lab says if something is missing"
expect "programs, the TUN device, namespaces: what is wrong and what to do" \
	"$lab/enter" "$lab/setup-test.sh"

take before
echo "== Every demo"
for step in "${demos[@]}"; do
	expect "$step/demo.sh" demo "$step"
	expect "$step leaves the machine as it was" unchanged
done

echo "== A piece that a learner is about to write ($first)"
# copy_course FOLDER: copies the course, without what is made from it.
copy_course() {
	mkdir -p "$1"
	tar -C "$root" --exclude=./.git --exclude=./.cache --exclude='./*/bin' --exclude='./*/out' -cf - . | tar -C "$1" -xf -
}
missing_piece() {
	copy_course "$work/course" && make -C "$work/course/$first" start EX=1 >/dev/null || return
	! make -C "$work/course/$first" demo >"$work/missing" 2>&1
	cat "$work/missing"
	grep -q "exercise 1.1 .* not written yet.*'make solution EX=1 PUT=1' in $first" "$work/missing" && ! grep -q '^== ' "$work/missing"
}
expect "the demo says at its start which piece is missing, and what to do" missing_piece

echo "== The lab, open for a learner (step3-tunnel)"
# terminal NAME HOST: a shell in the lab that reads commands from standard input, in a terminal of its own.
terminal() { timeout --foreground "$LIMIT" env "$mark" script -qec "make -C step3-tunnel lab HOST=$2" /dev/null >"$work/$1" 2>&1; }
two_shells() {
	terminal one alice <<-'END' &
		on server server -v >/run/lab/server.log 2>&1 &
		client -server $SERVER4:$PORT >/run/lab/client.log 2>&1 &
		until ping -c 1 -W 1 10.8.0.1 >/dev/null; do sleep 0.2; done
		echo "=== $(curl -s http://$WEB4/whoami) ==="
		ping -q 10.8.0.1 & capture cafe br0 -c 1 udp port $PORT
		touch /run/lab/first
		until [ -e /run/lab/second ]; do sleep 0.1; done
		exit
	END
	terminal two web <<-'END'
		until [ -e /run/lab/first ]; do sleep 0.1; done
		touch /run/lab/second
		ip -br addr show eth0
		exit
	END
	wait $!
	cat "$work/one" "$work/two"
	grep -q '=== 198.51.100.10 ===' "$work/one" && # curl: who came to the site
		grep -q 'IP 198.51.100.10.* > 203.0.113.10.5555: UDP' "$work/one" && grep -q 'eth0.*203.0.113.80' "$work/two"
}
expect "a shell on alice, with the step's programs; another joins on web" two_shells
expect "the lab closes with its last shell" until_true 20 none_left
expect "and the machine is as it was" unchanged

echo "== Ended in the middle ($latest)"
begin make -C "$latest" demo
expect "the search for leftovers sees a running demo" until_true 20 programs_run
kill -INT -- -"$leader" 2>/dev/null
expect "Ctrl-C ends it with exit code 130, and all its processes" ended 130
expect "and the machine is as it was" unchanged

begin "$latest/demo.sh"
kill -TERM "$leader" 2>/dev/null
expect "SIGTERM ends it with exit code 143, and all its processes" ended 143
expect "and the machine is as it was" unchanged

# How a program reacts to Ctrl-C must not matter: here one exits with a code of its own, as
# curl does when its server goes first, and one ignores the signal.
inside() { [ "$(<"$work/log")" = ready ]; }
for reaction in 'exit 7' ''; do
	for signal in INT TERM; do
		launch "$lab/enter" sh -c "trap '$reaction' INT TERM; echo ready; while :; do sleep 0.1; done"
		until_true 20 inside
		kill -$signal -- -"$leader"
		expect "SIG$signal ends it, however a program reacts: '$reaction'" ended $((128 + $(kill -l $signal)))
	done
done

begin make demo
killed "$leader"
expect "kill -9 of make ends all its processes" until_true 20 none_left
expect "and the machine is as it was" unchanged

# interrupt.sh prints its own checks. "make soak" uses 50 moments.
"$lab/interrupt.sh" 3 || fail "the random moments, see above"

echo "== kill -9 of each process between make and the demo's programs ($first)"
# child PID: prints one of its children, but none of the sleeping processes that keep the
# hosts' mount namespaces alive.
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
	[ -n "$victim" ] || { fail "the demo has $depth processes above its programs" && break; }
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

echo "== As an ordinary user (${demos[*]:${#steps[@]}-1})"
# The user gets a copy of the course. Of root's Go, they see only the downloaded modules,
# the toolchain and the build cache. They also get a /dev/net/tun that they may open: it is
# mounted over the machine's, where only this test sees it.
home=$work/home uid=12321
user() {
	mkdir -p "$home"/{course,mod,goroot,.cache/go-build}
	copy_course "$home/course" || return
	chmod 755 "$work"
	chown -R $uid:$uid "$home"
	# The standard library that root's Go has already built saves a minute. The files are
	# hard links to root's; where links are not possible, the build takes longer.
	cp -al "$(go env GOCACHE)/." "$home/.cache/go-build/" 2>/dev/null
	find "$home/.cache" -type d -exec chown $uid:$uid {} +
}
# as_user FOLDER: runs the demo there.
as_user() {
	# shellcheck disable=SC2016 # expanded there
	timeout --foreground "$LIMIT" unshare --mount bash -euc '
		home=$1 uid=$2 step=$3
		mount -t tmpfs -o dev,mode=755 lab /dev/net
		mknod -m 666 /dev/net/tun c 10 200
		mount --bind "$GOMODCACHE" "$home/mod"
		mount --bind "$GOROOT" "$home/goroot"
		exec env -i HOME="$home" PATH="$home/goroot/bin:/usr/bin:/bin" GOMODCACHE="$home/mod" GOPROXY=off GOTOOLCHAIN=local NO_COLOR=1 \
			setpriv --reuid=$uid --regid=$uid --clear-groups "$home/course/$step/demo.sh"
	' as-user "$home" $uid "$1" || return
	[ "$(stat -c %u "$home/course/$1/out/demo.txt")" = $uid ]
}
if [ "$(id -u)" = 0 ]; then
	GOMODCACHE=$(go env GOMODCACHE) GOROOT=$(go env GOROOT)
	export GOMODCACHE GOROOT
	expect "there is such a user" user
	# The latest step, and the chapters: two at a time, as each mostly waits.
	pids=()
	for step in "${demos[@]:${#steps[@]}-1}"; do
		while [ "$(jobs -rp | wc -l)" -ge 2 ]; do sleep 0.2; done
		as_user "$step" >"$work/user-${step##*/}" 2>&1 &
		pids+=($!)
	done
	for step in "${demos[@]:${#steps[@]}-1}"; do
		expect "all of $step/demo.sh, without root" result "${pids[0]}" "user-${step##*/}"
		pids=("${pids[@]:1}")
	done
	expect "the machine is as it was" unchanged
else
	echo "  (this whole run is by an ordinary user)"
fi

echo "== make walk, at a terminal ($first)"
# type TEXT: types on the keyboard of the terminal that script(1) provides.
type() { printf '%s' "$1" >&3; }
prompts() { grep -c '\[Enter\]' "$work/screen"; }
prompted() { [ "$(prompts)" -gt "$1" ] || [ ! -e "/proc/$leader" ]; }
# walk: starts make walk; the keyboard is file descriptor 3.
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
