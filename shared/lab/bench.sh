# shellcheck shell=bash
# For the bench.sh of a step, after lab.sh:
#
#   measure TITLE UNIT NAME COMMAND [NAME COMMAND]...
#
# runs each command in turn, ROUNDS times; a command prints a number. The median of each
# command is shown, and its ratio to the first one's. The machine's speed drifts, so only
# the ratios of one run are meaningful.
#
#   compare HOST NAME ADDRESS [NAME ADDRESS]...
#
# is measure for TCP throughput from alice (or from bob, to bob:ADDRESS) to each
# address of HOST, with iperf3.

ROUNDS=${ROUNDS-3}
SECONDS_EACH=${SECONDS_EACH-3}

# _median NUMBER...
_median() { printf '%s\n' "$@" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

measure() {
	local title=$1 unit=$2 round i first median
	shift 2
	local -a names=() commands=() numbers=()
	while [ $# -gt 0 ]; do
		names+=("$1") commands+=("$2")
		shift 2
	done
	for ((round = 1; round <= ROUNDS; round++)); do
		for i in "${!names[@]}"; do
			numbers[i]+=" $(${commands[i]})" # words
		done
	done
	_tell '' "$(printf '%-28s %10s   %s' "$title" "$unit" "of ${names[0]}")"
	for i in "${!names[@]}"; do
		# shellcheck disable=SC2086 # numbers
		median=$(_median ${numbers[i]})
		first=${first-$median}
		_tell '' "$(awk -v n="${names[i]}" -v m="$median" -v f="$first" 'BEGIN { printf "%-28s %10d   %.2f", n, m, m / f }')"
	done
	_finished=1 # a benchmark checks nothing
}

# _rate ADDRESS: one measurement, in Mbit/s.
_rate() {
	local from=alice
	[ "${1#bob:}" = "$1" ] || from=bob
	on $from iperf3 -c "${1#bob:}" -t "$SECONDS_EACH" -i 0 -f m | awk '/receiver/ { print $(NF - 2) }'
}

compare() {
	local host=$1
	shift
	local -a pairs=()
	while [ $# -gt 0 ]; do
		pairs+=("$1" "_rate $2")
		shift 2
	done
	_start iperf "$host" iperf3 -s --forceflush
	wait_for 10 "iperf3 listens" logged iperf "Server listening"
	measure "TCP to $host" "Mbit/s" "${pairs[@]}"
	kill -INT "${_pid[iperf]}"
	_reap iperf
}
