#!/usr/bin/env bash
# How fast do alice and bob download from the web site: on the plain wire, through step
# 6's server, and through this step's, one alone and both at once? The Go benchmarks of
# package hub, which make bench runs first, measure what a thousand clients cost.
NEEDS="../step4-crypto ../step6-dns" # keygen; a server with one client
. "$(dirname "$0")/../shared/lab/lab.sh"
. ../shared/lab/bench.sh

# rate HOST...: prints what they download from the web site together, in Mbit/s.
rate() {
	local host pids=()
	for host; do
		on "$host" iperf3 -c "$WEB4" -p "${IPERF[$host]}" -t "$SECONDS_EACH" -i 0 -f m >"$LAB/rate.$host" &
		pids+=($!)
	done
	wait "${pids[@]}"
	for host; do awk '/receiver/ { print $(NF - 2) }' "$LAB/rate.$host"; done | awk '{ sum += $1 } END { print int(sum) }'
}

# up NAME HOST CMD...: starts it in silence, and waits until it says that it is up.
# down NAME: ends it.
up() {
	_start "$@"
	wait_for 20 "$1 is up" logged "$1" "is up"
}
down() {
	kill -INT "${_pid[$1]}"
	_reap "$1"
}

# six: alice's rate through step 6. seven HOST...: these hosts' rate through step 7.
six() {
	up server server ../step6-dns/bin/server -key "$LAB/vpn.key" -dns "$WEB4"
	up alice alice ../step6-dns/bin/client -key "$LAB/vpn.key" -server "$SERVER4:$PORT"
	rate alice
	down alice
	down server
}
seven() {
	local host
	up server server bin/server -registry "$LAB/clients" -key "$LAB/server.key" -dns "$WEB4"
	for host; do up "$host" "$host" bin/client -profile "$LAB/$host.conf"; done
	rate "$@"
	for host; do down "$host"; done
	down server
}

declare -A IPERF=([alice]=5201 [bob]=5202)
../step4-crypto/bin/keygen -out "$LAB/vpn.key" >/dev/null
bin/clients init -registry "$LAB/clients" -key "$LAB/server.key" >/dev/null
for host in alice bob; do
	bin/clients add -registry "$LAB/clients" -key "$LAB/server.key" -server "$SERVER4:$PORT" -out "$LAB/$host.conf" $host >/dev/null
	_start "iperf-$host" web iperf3 -s --forceflush -p "${IPERF[$host]}"
	wait_for 10 "iperf3 listens" logged "iperf-$host" "Server listening"
done
measure "TCP to web" "Mbit/s" "plain wire" "rate alice" "plain wire, two" "rate alice bob" \
	"step 6" six "step 7" "seven alice" "step 7, two" "seven alice bob"
