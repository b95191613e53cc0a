#!/usr/bin/env bash
# How much of the wire's throughput is left inside the tunnel?
. "$(dirname "$0")/../shared/lab/lab.sh"
. ../shared/lab/bench.sh

start server server bin/server
start client alice bin/client -server "$SERVER4:$PORT"
start server-tcp server bin/server -transport tcp -dev vpn1 -addr 10.9.0.1/24
start client-tcp alice bin/client -transport tcp -dev vpn1 -addr 10.9.0.2/24 -server "$SERVER4:$PORT"
for address in 10.8.0.1 10.9.0.1; do
	wait_for 20 "the tunnel carries packets" on alice ping -c 1 -W 1 $address
done
compare server "plain wire" "$SERVER4" "tunnel over UDP" 10.8.0.1 "tunnel over TCP" 10.9.0.1
