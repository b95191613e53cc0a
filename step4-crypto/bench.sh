#!/usr/bin/env bash
# What does encryption cost, beside the plain wire and beside step 3's tunnel?
NEEDS=../step3-tunnel
. "$(dirname "$0")/../shared/lab/lab.sh"
. ../shared/lab/bench.sh

bin/keygen -out "$LAB/vpn.key" >/dev/null
start server server bin/server -key "$LAB/vpn.key"
start client alice bin/client -key "$LAB/vpn.key" -server "$SERVER4:$PORT"
start server3 server ../step3-tunnel/bin/server -listen :5556 -dev vpn3 -addr 10.9.0.1/24
start client3 alice ../step3-tunnel/bin/client -server "$SERVER4:5556" -dev vpn3 -addr 10.9.0.2/24
for address in 10.8.0.1 10.9.0.1; do
	wait_for 20 "the tunnel carries packets" on alice ping -c 1 -W 1 $address
done
compare server "plain wire" "$SERVER4" "step 3, in the clear" 10.9.0.1 "step 4, encrypted" 10.8.0.1
