#!/usr/bin/env bash
# Step 6: DNS queries go through the tunnel, and nowhere else.
NEEDS="../step4-crypto ../step5-nat" # keygen; a tunnel that leaks names
. "$(dirname "$0")/../shared/lab/lab.sh"

# The file that tells alice's programs which resolver to ask.
file=/etc/resolv.conf

# connect [FOLDER]: starts the server and alice's client, of this step or of the step
# in FOLDER. This step's server is given two resolvers to ask.
connect() {
	local bin=${1:+$1/}bin resolvers=()
	[ $# -gt 0 ] || resolvers=(-dns "$WEB4,$INTERNET4" -search example)
	start server server "$bin/server" -key "$LAB/vpn.key" "${resolvers[@]}"
	start client alice "$bin/client" -key "$LAB/vpn.key" -server "$SERVER4:$PORT"
	wait_for 20 "the tunnel is up" logged client "tunnel is up"
	wait_for 20 "alice reaches the web site" on alice ping -c 1 -W 1 "$WEB4"
}

# visit OPTION: alice opens a page by its name; it says which address she came from.
# came_as ADDRESS OPTION: succeeds if it is this address.
visit() { run alice curl -sS --max-time 10 "$1" http://web.example/whoami; }
came_as() { [ "$(on alice curl -sS --max-time 10 "$2" http://web.example/whoami)" = "$1" ]; }

# ask ARG...: runs dig, which prints the answer, or why there is none.
# says TEXT ARG...: succeeds if TEXT is somewhere in dig's output.
ask() { run alice dig +short +tries=1 "$@" || true; }
says() { { on alice dig +tries=1 "${@:2}" 2>&1 || true; } | grep -F -e "$1"; }

# refused: succeeds if alice may ask neither the cafe's resolver nor one far away.
refused() {
	local resolver
	for resolver in "$CAFE4" "$CAFE6" "$WEB4" "$WEB6"; do
		says "permission denied" "@$resolver" web.example || return
		says "permission denied" "@$resolver" +tcp web.example || return
	done
}

# asked NAME: how many of alice's questions are in the resolver's log.
asked() { grep -c "from=\($ALICE4\|$ALICE6\) " "$LAB/$1.log" || true; }
no_queries() { [ -z "$(queries "$1" alice)" ]; }

# state: everything on alice that the client may change. unchanged: succeeds if that
# is as it was at the start.
state() { on alice bash -c "cat $file; stat -c '%A %U %G %F' $file; ls -A /etc; ip -4 rule; ip -6 rule; nft list ruleset"; }
unchanged() { diff "$LAB/state" <(state); }

../step4-crypto/bin/keygen -out "$LAB/vpn.key" >/dev/null
state >"$LAB/state"
serve_web
for host in cafe web internet; do serve_dns $host; done

act "Before: a tunnel, and the cafe still reads names" \
	"People use names, packets need addresses. So before alice's browser opens web.example, it asks a resolver for the address. $file says which resolver; when alice joined the cafe's network, the cafe put its own there. The tunnel is step 5's." \
	"alice's traffic to the internet goes through the tunnel. Does the cafe learn which sites she visits?" \
	"yes. The name is asked of the cafe's resolver, which is in the local network and so is reached past the tunnel."
run alice cat $file
connect ../step5-nat
capture before cafe br0
visit -4
say "dig only looks up a name. It asks the resolver after the @; without one, it asks the resolver in the file. This query goes over TCP:"
ask @"$CAFE6" +tcp www.example
stop before
show_log dns-cafe from=
say "That was the log of the cafe's resolver. Anyone else who listens in the cafe saw these packets:"
queries before alice | grep -F '? ' | show
check "the page came through the tunnel" came_as "$SERVER4" -4
check_not "the cafe sees the queries, over UDP and TCP (so the search below can find some)" no_queries before
check "the cafe's resolver was asked" [ "$(asked dns-cafe)" -ge 2 ]
check_not "a program may ask any resolver" refused
stop client
stop server

act "Names go through the tunnel, too" \
	"Now the server runs a resolver, and tells the client its address when the client connects. The client writes that address into the file, and blocks queries (packets to port 53) to any other resolver." \
	"what does the file say now?" \
	"it names the server's address inside the tunnel. The original waits beside it."
connect
show_log client "dport 53|resolv.conf"
run alice cat $file
check "the file names the two addresses of the tunnel's resolver, and no other" \
	[ "$(on alice grep ^nameserver $file)" = $'nameserver 10.8.0.1\nnameserver fd00:8::1' ]

act "What the cafe sees now" \
	"Alice visits the page again, over IPv4 and IPv6, and looks up more names in other ways. The last two queries ignore the file: one goes to the cafe's resolver, one to a resolver far away." \
	"which of these can eve read in the cafe?" \
	"none of them. Those that ignore the file are refused by the firewall on alice's own host."
before=$(asked dns-cafe)
capture eve cafe br0
visit -4
visit -6
ask +tcp example MX
say "A name without its domain: the server told alice to try adding .example (the line 'search' in the file)."
run alice getent hosts web
say "The next answer has 5,600 bytes, too many for one packet, so dig asks again over TCP."
run alice dig +noall +stats big.example TXT
say "Queries that ignore the file:"
ask @"$CAFE4" mail.example
ask @"$WEB4" mail.example
check "the tunnel's resolver answered every query" on alice bash -c "
	set -e
	curl -fsS --max-time 10 -4 http://web.example/whoami
	curl -fsS --max-time 10 -6 http://web.example/whoami
	getent hosts web
	dig +tcp +short example MX | grep mail.example
	dig big.example TXT | grep 'ANSWER: 60'"
check "queries to other resolvers are refused at once, over UDP and TCP, IPv4 and IPv6" refused
stop eve
keep "$LAB/eve.pcap"
say "Packets from alice to port 53 that eve captured: $(queries eve alice | wc -l)"
check "no query crossed the cafe in the clear" no_queries eve
check "(eve did listen: she captured the tunnel's packets)" [ -n "$(tcpdump -nn -r "$LAB/eve.pcap" -c 1 "src $ALICE4 and udp dst port $PORT" 2>/dev/null)" ]
check "the cafe's resolver was not asked" [ "$(asked dns-cafe)" = "$before" ]
check "the server asked web's resolver on her behalf" logged dns-web "from=$SERVER4"

act "The server's resolvers fail" \
	"The server asks the resolver on web, and if that does not answer, the one on internet. Now the first is stopped, then the second." \
	"alice asks for a name that nobody has asked for yet. What happens in each case?" \
	"the first time the answer comes all the same, from the other resolver. The second time the name can't be resolved, and the answer says so (SERVFAIL) instead of making her wait for ever."
stop dns-web
ask vpn.example
check "internet's resolver took over" grep -iq "from=$SERVER4 .*vpn.example" "$LAB/dns-internet.log"
stop dns-internet
run alice dig +noedns +noall +comments mail.example
check "alice gets an error (SERVFAIL), not a timeout" says "status: SERVFAIL" mail.example
ask vpn.example
check "a name in the server's cache is still answered" says "$SERVER4" vpn.example

act "Ctrl-C" \
	"The client is stopped." \
	"which resolver does alice ask from now on?" \
	"the cafe's again: the file is as it was."
check_not "(while the tunnel is up, alice's host is changed)" unchanged
stop client
check "the client ended without an error" [ "$STATUS" = 0 ]
run alice cat $file
check "the file is byte for byte the old one, and all else is as before, too" unchanged
check "alice asks the cafe's resolver again" came_as "$ALICE4" -4
stop server

act "kill -9" \
	"The same again, but now the client has no chance to put anything back." \
	"alice's file names a resolver that she can't reach any more. Will her next query go to the cafe, in the clear?" \
	"no. The file still names the resolver in the tunnel, which is gone, and the firewall, which outlives the client, still refuses every other. The next start puts both back."
connect
kill9 client
run alice cat $file
ask web.example
check "no query leaves the host" refused
say "Before the client changed anything, it wrote down what was there. The next start puts that back; -recover does the same, and nothing else."
run alice bin/client -recover
run alice cat $file
check "the file is byte for byte the old one, and all else is as before, too" unchanged
check "names work" came_as "$ALICE4" -4
stop server

say "Still wrong: everybody has the same key, and the server can serve only one client at a time."
finish
