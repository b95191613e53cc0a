#!/usr/bin/env bash
# How many names per second can alice look up through the tunnel? The yardstick is
# dnsmasq, which runs on the server at another port and forwards to the same resolver.
# After the first lookup, all answers come from the cache.
NEEDS=../step4-crypto # keygen
"$(dirname "$0")/../shared/lab/setup.sh" dnsperf dnsmasq
. "$(dirname "$0")/../shared/lab/lab.sh"
. ../shared/lab/bench.sh

# lookups PORT: prints how many queries per second were answered.
lookups() {
	on alice dnsperf -s 10.8.0.1 -p "$1" -d "$LAB/queries" -l "$SECONDS_EACH" -c 8 -Q 100000 2>/dev/null |
		awk '/Queries per second/ { print $4 }'
}

for type in A AAAA MX TXT; do echo "web.example $type"; done >"$LAB/queries"
echo "nowhere.example A" >>"$LAB/queries"
../step4-crypto/bin/keygen -out "$LAB/vpn.key" >/dev/null
serve_dns web
start server server bin/server -key "$LAB/vpn.key" -dns "$WEB4"
start client alice bin/client -key "$LAB/vpn.key" -server "$SERVER4:$PORT"
wait_for 20 "alice finds the web site" on alice dig +tries=1 +time=1 web.example
start dnsmasq server dnsmasq --keep-in-foreground --no-resolv --no-hosts --conf-file=/dev/null --user=root \
	--pid-file= --port=5300 --listen-address=10.8.0.1 --bind-interfaces --server="$WEB4" --dns-forward-max=1000
wait_for 20 "dnsmasq answers" on alice dig +tries=1 +time=1 -p 5300 @10.8.0.1 web.example
measure "lookups through the tunnel" "queries/s" "dnsmasq" "lookups 5300" "step 6's resolver" "lookups 53"
