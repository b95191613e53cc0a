#!/usr/bin/env bash
# How fast does alice reach the web site through the gateway, compared with the plain
# wire? Bob, who is on the same network and has no VPN, measures the wire.
NEEDS=../step4-crypto # keygen
. "$(dirname "$0")/../shared/lab/lab.sh"
. ../shared/lab/bench.sh

../step4-crypto/bin/keygen -out "$LAB/vpn.key" >/dev/null
start server server bin/server -key "$LAB/vpn.key"
start client alice bin/client -key "$LAB/vpn.key" -server "$SERVER4:$PORT"
wait_for 20 "alice reaches the web site" on alice ping -c 1 -W 1 "$WEB4"
compare web "plain wire" bob:"$WEB4" "gateway, IPv4" "$WEB4" "gateway, IPv6" "$WEB6"
