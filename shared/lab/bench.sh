# shellcheck shell=bash
# For the bench.sh of a step, after lab.sh:
#
#   compare HOST NAME ADDRESS [NAME ADDRESS]...
#
# measures TCP throughput from alice (or from bob, to bob:ADDRESS) to each address
# of HOST with iperf3, in turn, and prints the median of each and its ratio to the first. The machine's
# speed drifts, so only the ratios of one run mean something.

ROUNDS=${ROUNDS-3}
SECONDS_EACH=${SECONDS_EACH-3}

# _rate ADDRESS: one measurement, in Mbit/s.
_rate() {
	local from=alice
	[ "${1#bob:}" = "$1" ] || from=bob
	on $from iperf3 -c "${1#bob:}" -t "$SECONDS_EACH" -i 0 -f m | awk '/receiver/ { print $(NF - 2) }'
}

# _median NUMBER...
_median() { printf '%s\n' "$@" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

compare() {
	local host=$1 round i first median
	shift
	local -a names=() addresses=() rates=()
	while [ $# -gt 0 ]; do
		names+=("$1") addresses+=("$2")
		shift 2
	done
	_start iperf "$host" iperf3 -s --forceflush
	wait_for 10 "iperf3 listens" logged iperf "Server listening"
	for ((round = 1; round <= ROUNDS; round++)); do
		for i in "${!names[@]}"; do
			rates[i]+=" $(_rate "${addresses[i]}")"
		done
	done
	_tell '' "$(printf '%-28s %10s   %s' "TCP to $host" "Mbit/s" "of ${names[0]}")"
	for i in "${!names[@]}"; do
		# shellcheck disable=SC2086 # numbers
		median=$(_median ${rates[i]})
		first=${first-$median}
		_tell '' "$(awk -v n="${names[i]}" -v m="$median" -v f="$first" 'BEGIN { printf "%-28s %10d   %.2f", n, m, m / f }')"
	done
	kill -INT "${_pid[iperf]}"
	_reap iperf
	_finished=1 # a benchmark checks nothing
}
