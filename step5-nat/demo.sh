#!/usr/bin/env bash
# Step 5: everything that alice sends leaves through the server.
NEEDS=../step4-crypto # keygen
. "$(dirname "$0")/../shared/lab/lab.sh"

SIZE=10000000

# host_state HOST: prints everything that the programs may have changed on it.
host_state() {
	on "$1" bash -c '
		ip -4 rule; ip -6 rule; ip -4 route show table all; ip -6 route show table all; ip -br link | cut -d" " -f1
		iptables-save | grep -e ^-A -e "^:.* - "; ip6tables-save | grep -e ^-A -e "^:.* - "
		sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding
		sysctl -a -r "rp_filter|accept_ra$" 2>/dev/null | grep -v vpn0'
}
# remember: saves the state of both hosts. unchanged: succeeds if it is still the same.
remember() { for h in alice server; do host_state $h >"$LAB/$h.state"; done; }
unchanged() { for h in alice server; do diff "$LAB/$h.state" <(host_state $h) || return; done; }

# whoami4, whoami6: show the address under which the web site sees alice.
whoami4() { run alice curl -sS --max-time 10 "http://$WEB4/whoami"; }
whoami6() { run alice curl -sS --max-time 10 "http://[$WEB6]/whoami"; }
seen_as() { [ "$(on alice curl -sS --max-time 10 "http://$2/whoami")" = "$1" ]; }

# alice_uses_the_internet: pings, browses and traces, in silence.
alice_uses_the_internet() {
	on alice ping -c 2 -i 0.2 -W 2 "$WEB4"
	on alice ping -c 2 -i 0.2 -W 2 "$WEB6"
	on alice curl -sS --max-time 10 "http://$WEB4/whoami"
	on alice curl -sS --max-time 10 "http://[$WEB6]/whoami"
	on alice traceroute -n -q 1 -w 1 -m 6 "$WEB4"
	on alice traceroute -6 -n -q 1 -w 1 -m 6 "$WEB6"
} >/dev/null 2>&1

# strays NAME: prints the captured packets from alice that are not for the server's port.
# Neighbor discovery and multicast group reports are left out: IPv6 needs them on any wire.
strays() {
	tcpdump -nn -t -r "$LAB/$1.pcap" "(ip or ip6) and (src $ALICE4 or src $ALICE6 or src net fe80::/10)
		and not (dst $SERVER4 and udp dst port $PORT)
		and not (ip6 and icmp6[icmp6type] >= 133 and icmp6[icmp6type] <= 136)
		and not (ip6 dst net ff02::/16)" 2>/dev/null
}
no_strays() { [ -z "$(strays "$1")" ]; }

# connect: starts both ends.
connect() {
	start server server bin/server -key "$LAB/vpn.key"
	start client alice bin/client -key "$LAB/vpn.key" -server "$SERVER4:$PORT" "$@"
	wait_for 20 "the tunnel is up" logged client "tunnel is up"
	wait_for 20 "alice reaches the web site" on alice ping -c 1 -W 1 "$WEB4"
}

../step4-crypto/bin/keygen -out "$LAB/vpn.key" >/dev/null
serve_web
remember

act "Before: alice is seen" \
	"Alice visits a web site. The cafe sees where she goes, and the site sees where she is." \
	"which address does the site log?" \
	"alice's own, 198.51.100.10."
capture before cafe br0
whoami4
whoami6
alice_uses_the_internet
stop before
check "the web site sees alice's own address" seen_as "$ALICE4" "$WEB4"
say "Some of what the cafe saw:"
strays before | grep -E "HTTP|ICMP" | head -n 4 | show
check_not "the cafe sees where alice goes (so the search below can find it)" no_strays before

act "The tunnel becomes the way out" \
	"The server forwards alice's packets under its own address (NAT). The client sends everything into the tunnel, except the tunnel's own datagrams." \
	"which commands does that take on alice's side?" \
	"a mark on the client's own socket, a rule that sends everything without the mark to a table of its own, in that table a default route into the tunnel, and a rule that keeps the local network reachable. The client prints them."
connect
show_log client "ip |rule"
show_log server "iptables|forward"
run alice ip rule
say "The mark is shown in hexadecimal here: 0x57e9 is 22505, the one number that serves as mark, table and priority. 'proto 87' says which program made a rule: by it, the next start after a kill -9 recognizes its own rules."

act "After: the server is seen" \
	"Alice makes the same visits again." \
	"which address does the site see now? What is traceroute's first hop?" \
	"the server's, 203.0.113.10. The first hop is the server's address in the tunnel, 10.8.0.1."
whoami4
whoami6
check "the web site sees the server's IPv4 address" seen_as "$SERVER4" "$WEB4"
check "the web site sees the server's IPv6 address" seen_as "$SERVER6" "[$WEB6]"
run alice traceroute -n -q 1 -w 2 -m 6 "$WEB4"
check "the first hop is the server, inside the tunnel" grep -qE '^ *1 +10\.8\.0\.1 ' <(on alice traceroute -n -q 1 -w 2 -m 6 "$WEB4")

act "What the cafe sees" \
	"Eve records while alice pings, browses and traces, over IPv4 and IPv6." \
	"what can eve still see?" \
	"only datagrams between alice and the server: neither the sites nor the names nor the pings."
capture eve cafe br0
alice_uses_the_internet
stop eve
keep "$LAB/eve.pcap"
strays eve | show
check "eve sees nothing from alice but datagrams to the server's port" no_strays eve
check "(and she does see some of those)" [ -n "$(tcpdump -nn -r "$LAB/eve.pcap" "src $ALICE4 and dst $SERVER4 and udp dst port $PORT" 2>/dev/null | head -n 1)" ]
check "the local network still works: alice reaches bob" on alice ping -c 1 -W 5 "$BOB4"

act "A download, and how fast" \
	"Alice downloads 10 MB from the web site, then as much as she can in 5 seconds." \
	"is that faster or slower than without a tunnel?" \
	"slower: each packet is encrypted, and passes two programs and the server's link."
want=$(on alice curl -sS --max-time 20 "http://$WEB4/file.sha256?bytes=$SIZE")
on alice curl -sS --max-time 50 -o "$LAB/file" "http://$WEB4/file?bytes=$SIZE"
got=$(sha256sum <"$LAB/file")
check "10 MB came through unchanged" [ "$want" = "${got%% *}" ]
start iperf web iperf3 -s --forceflush
wait_for 10 "iperf3 listens" logged iperf "Server listening"
rate=$(on alice iperf3 -c "$WEB4" -t 5 -f m | awk '/receiver/ { print $(NF - 2) }')
stop iperf
say "iperf3 -c $WEB4 -t 5: $rate Mbit/s"
check "iperf3 measured a rate" [ "${rate%.*}" -gt 0 ]

act "Ctrl-C" \
	"Ctrl-C stops both programs. Then routes, rules, firewall and settings are compared with those before." \
	"what must be put back by hand?" \
	"nothing. Each program has undone just what it did."
check_not "(while the tunnel is up, the hosts are not as before)" unchanged
stop client
check "the client ended without an error" [ "$STATUS" = 0 ]
stop server
check "the server ended without an error" [ "$STATUS" = 0 ]
check "both hosts are as they were" unchanged
check "alice is seen under her own address again" seen_as "$ALICE4" "$WEB4"

act "kill -9" \
	"This time both programs are killed, and have no chance to clean up." \
	"who will clean up, and when?" \
	"the kernel at once, as far as routes through the device go, since these vanish with it. The rules and the server's firewall wait until the next start, which undoes what was left."
connect
kill9 client
kill9 server
check_not "something is left behind" unchanged
say "The next start finds what is left, and cleans up."
connect
check "the tunnel works" seen_as "$SERVER4" "$WEB4"
stop client
stop server
check "both hosts are as they were" unchanged

act "A tunnel without IPv6" \
	"This tunnel carries only IPv4. Alice's own IPv6 still works, and would bypass the tunnel." \
	"will IPv6 packets leak, hang, or be refused?" \
	"they are refused at once. A leak would show her address, and a packet that silently vanishes would make programs wait."
connect -addr 10.8.0.2/24
capture six cafe br0
run alice curl -sS --max-time 10 "http://[$WEB6]/whoami" || true
whoami4
stop six
check "IPv6 is refused at once" bash -c "! nsenter --net=/run/netns/alice curl -sS --max-time 10 'http://[$WEB6]/' 2>&1 | grep -i 'timed out'"
check_not "(the site does not answer over IPv6)" on alice curl -sS --max-time 10 "http://[$WEB6]/whoami"
check "no IPv6 packet bypassed the tunnel" no_strays six
stop client
stop server

say "Still wrong: Alice's DNS queries. Her programs still ask the cafe's resolver, outside of the tunnel, so the cafe sees every name that she looks up. That is step 6."
finish
