#!/usr/bin/env bash
# How fast is the relay, beside socat in its place, and beside no relay at all?
# Alice sends zeros to web, by each way in turn. The sender and the receiver are
# the same program each time (socat, too), so only the way differs.
. "$(dirname "$0")/../shared/lab/lab.sh"
ROUNDS=${ROUNDS-5}
. ../shared/lab/bench.sh

BYTES=${BYTES-1000000000}
CHUNK=32768 # as the relay has it
names=("plain wire" "socat" "relay")
receivers=("TCP-LISTEN:7001" "TCP-LISTEN:7001" "TCP:$SERVER4:$PORT") # on web
senders=("TCP:$WEB4:7001" "TCP:$SERVER4:7002" "TCP:$SERVER4:$PORT")  # on alice
rates=()

# there FILTER: succeeds if web has a socket that matches and is ready.
there() { on web ss -Htna "$1" | grep -qE '^(LISTEN|ESTAB)'; }
# listening PORT: succeeds if the server listens there.
listening() { on server ss -Hltn "sport = :$1" | grep -q .; }
# rate WAY: one transfer, in Mbit/s, from the sender's start to the receiver's end.
rate() {
	local begin receiver
	on web socat -u -b 1048576 "${receivers[$1]}" OPEN:/dev/null &
	receiver=$!
	wait_for 10 "the receiver is there" there "( sport = :7001 or dport = :$PORT )"
	begin=${EPOCHREALTIME/./}
	on alice socat -u -b 1048576 "OPEN:/dev/zero,readbytes=$BYTES" "${senders[$1]}"
	wait "$receiver"
	REPLY=$((BYTES * 8 / (${EPOCHREALTIME/./} - begin)))
}

start socat server socat -u -b $CHUNK TCP-LISTEN:7002,fork "TCP:$WEB4:7001"
start relay server bin/relay
wait_for 10 "socat listens" listening 7002
wait_for 10 "the relay listens" listening "$PORT"
for ((round = 1; round <= ROUNDS; round++)); do
	for way in "${!names[@]}"; do
		rate "$way"
		rates[way]+=" $REPLY"
	done
done
stop relay
stop socat


# ratio WAY OTHER: the median of the rounds' ratios. A ratio is taken within a round
# because the machine's speed drifts from round to round.
ratio() {
	local round ratios=()
	local -a a b
	read -ra a <<<"${rates[$1]}"
	read -ra b <<<"${rates[$2]}"
	for round in "${!a[@]}"; do
		ratios+=("$(awk -v a="${a[round]}" -v b="${b[round]}" 'BEGIN { printf "%.2f", a / b }')")
	done
	_median "${ratios[@]}"
}

say "$((BYTES / 1000000)) MB from alice to web, $ROUNDS rounds, medians:"
{
	printf '%-12s %8s %14s %10s   %s\n' way Mbit/s 'of plain wire' 'of socat' 'Mbit/s in each round'
	for way in "${!names[@]}"; do
		# shellcheck disable=SC2086 # numbers
		printf '%-12s %8d %14s %10s  %s\n' "${names[way]}" "$(_median ${rates[way]})" \
			"$(ratio "$way" 0)" "$(ratio "$way" 1)" "${rates[way]}"
	done
} | show
# The rate of a relay that loses bytes would mean nothing.
passed_on=$(grep -c "INFO finished .*=$BYTES\b" "$LAB/relay.log")
[ "$passed_on" = "$ROUNDS" ]
_finished=1 # a benchmark leaves nothing in out/
