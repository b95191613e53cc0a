#!/usr/bin/env bash
# interrupt.sh [COUNT [SEED]]: ends demos at COUNT random moments, by Ctrl-C or by
# SIGTERM. Each time, the exit code must be 130 or 143, no process may be left, and the
# machine must be as it was. The same seed repeats the choices, but where a demo is at a
# given moment depends on the machine. The last line and the exit code are as in test.sh.
. "$(dirname "$0")/expect.sh"
count=${1-5}
seed=${2-$(od -An -N2 -tu2 /dev/urandom)}
echo "== Ended at $count random moments (seed $((seed)))"
RANDOM=$seed

# lines FILE: prints how many lines it has.
lines() { wc -l <"$1"; }
reached() { [ "$(lines "$work/log")" -ge "$1" ] || over; }
# over: succeeds if the demo is. (By bash alone: on a busy machine, a program that looks takes so
# long that a demo can be over by the time that the signal is sent.)
over() {
	local said IFS= line=$'\n'
	mapfile said <"$work/log"
	[[ $line${said[*]} =~ $line\ +[0-9]+\ passed,\ [0-9]+\ failed$line|$line==\ The\ demo\ failed ]]
}

# groups: prints the control groups of the run's machines (systemd-nspawn), as others on this
# computer may have machines, too.
groups() {
	local pid
	for pid in $(marked); do grep -o 'stepvpn-[^/]*-[[:alnum:]]\{6\}' "/proc/$pid/cgroup"; done 2>/dev/null | sort -u
}
# no_groups NAME...: succeeds if these are gone.
no_groups() {
	local name
	for name in "$@"; do
		[ -z "$(find /sys/fs/cgroup -name "$name" -type d 2>/dev/null)" ] || { echo "left: $name" && return 1; }
	done
}

# ends CODE GROUP...: succeeds if the run has ended as it should.
ends() { ended "$1" && until_true 60 no_groups "${@:2}" && unchanged; }

# The number of lines that a demo has printed tells how far it has got.
for step in "${demos[@]}"; do
	[ -e "$step/out/demo.txt" ] || expect "$step/demo.sh" demo "$step"
done

take before
sent=0 drawn=0
while [ $sent -lt "$count" ]; do
	drawn=$((drawn + 1))
	if [ $drawn -gt $((2 * count + 10)) ]; then
		fail "to find $count moments before a demo is over: $sent of $drawn"
		break
	fi
	step=${demos[RANDOM % ${#demos[@]}]}
	line=$((RANDOM % $(lines "$step/out/demo.txt")))
	delay=$((RANDOM % 1000))
	case $((RANDOM % 2)) in
	0) command=("$step/demo.sh") ;;
	1) command=(make -C "$step" demo) ;;
	esac
	case $((RANDOM % 4)) in
	0) signal=TERM code=143 what="SIGTERM to the first process" ;;
	1) signal=TERM code=143 what="SIGTERM" ;;
	*) signal=INT code=130 what="Ctrl-C" ;;
	esac
	: >"$work/log"
	launch "${command[@]}"
	if ! until_true "$LIMIT" reached $line; then
		fail "${command[*]} comes to line $line"
		break
	fi
	sleep "$(printf '0.%03d' $delay)"
	where="${command[*]}, $((100 * line / $(lines "$step/out/demo.txt")))% + $delay ms"
	mapfile -t machines < <(groups)
	if over; then # that was too late
		wait "$leader"
		continue
	fi
	sent=$((sent + 1))
	case $what in
	*first*) kill -$signal "$leader" ;;
	*) kill -$signal -- -"$leader" ;;
	esac
	expect "$what ($where): exit code $code, nothing is left" ends $code "${machines[@]}"
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
