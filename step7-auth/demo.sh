#!/usr/bin/env bash
# Step 7: the server knows its clients apart, and serves many at once.
NEEDS="../step4-crypto ../step6-dns" # keygen; a tunnel with one key for all
. "$(dirname "$0")/../shared/lab/lab.sh"

# The server's files. What the operator types is 'clients COMMAND', with these.
FILES=(-registry "$LAB/authorized_clients" -key "$LAB/server.key")
clients() { run server bin/clients "$1" -registry "$LAB/authorized_clients" "${@:2}"; }
add() { clients add -key "$LAB/server.key" -server "$SERVER4:$PORT" -out "$LAB/$1.conf" "$1"; }

# serve FLAG...: starts the server. join NAME HOST: starts a client, and waits until
# it is in.
serve() {
	start server server bin/server "${FILES[@]}" -dns "$WEB4" "$@"
	wait_for 20 "the server is up" logged server "server is up"
}
join() {
	start "$1" "$2" bin/client -profile "$LAB/$1.conf"
	wait_for 20 "$1 is in" logged "$1" "tunnel is up"
}

# inner HOST: its IPv4 address in the tunnel. at HOST ADDRESS: succeeds if it is this one.
inner() { on "$1" ip -4 -br address show dev vpn0 | grep -o '10\.8\.0\.[0-9]*'; }
at() { [ "$(inner "$1")" = "$2" ]; }
# seen_as HOST ADDRESS: succeeds if the web site sees the host at this address.
# through_tunnel HOST: succeeds if the web site sees the server's address.
seen_as() { [ "$(on "$1" curl -sS --max-time 5 "http://$WEB4/whoami")" = "$2" ]; }
through_tunnel() { seen_as "$1" "$SERVER4"; }
ping_once() { on "$1" ping -c 1 -W 1 "${@:2}"; }

# says TEXT HOST CMD...: succeeds if the command prints the text.
says() { { on "${@:2}" 2>&1 || true; } | grep -F -e "$1"; }

# dropped REASON: how many packets the server has dropped for this reason.
dropped() { grep -o " $1 [0-9]*" "$LAB/server.log" | tail -n 1 | grep -o '[0-9]*'; }
# count: makes the server write its counters to the log.
count() {
	local before
	before=$(grep -c '^server: ' "$LAB/server.log") || true
	signal server USR1
	wait_for 10 "the server has written its counters" _more_counters "$before"
}
_more_counters() { [ "$(grep -c '^server: ' "$LAB/server.log")" -gt "$1" ]; }

# no_connections: succeeds if the server's kernel knows no connection of bob's.
no_connections() { [ -z "$(on server conntrack -L -f ipv4 -s 10.8.0.3 2>/dev/null)" ]; }

# no_lease: succeeds if nobody has bob's address.
no_lease() { ! on server grep -q "^10.8.0.3 [^-]" /var/lib/stepvpn/leases; }

# packets NAME [FILTER]: what a capture holds.
packets() { tcpdump -nn -t -r "$LAB/$1.pcap" "${2-}" 2>/dev/null; }

# mallory_makes NAME FLAG...: a client file for a server of her own.
mallory_makes() {
	[ -e "$LAB/hers.key" ] || on cafe bin/clients init -registry "$LAB/hers" -key "$LAB/hers.key"
	on cafe bin/clients add -registry "$LAB/hers" -key "$LAB/hers.key" -server "$SERVER4:$PORT" -out "$LAB/$1.conf" "${@:2}" "$1"
} >/dev/null

serve_web
serve_dns web

act "Before: one key for all" \
	"Alice and bob have the same key: step 6 allows nothing else. Its server can't tell them apart." \
	"alice is connected. What happens to her when bob connects, too?" \
	"she is cut off: the server takes bob for alice at a new address, since both have the same key."
../step4-crypto/bin/keygen -out "$LAB/vpn.key" >/dev/null
start server server ../step6-dns/bin/server -key "$LAB/vpn.key" -dns "$WEB4"
wait_for 20 "the server is up" logged server "tunnel is up"
start alice alice ../step6-dns/bin/client -key "$LAB/vpn.key" -server "$SERVER4:$PORT"
wait_for 20 "alice reaches the web site" through_tunnel alice
start bob bob ../step6-dns/bin/client -key "$LAB/vpn.key" -server "$SERVER4:$PORT"
wait_for 20 "bob reaches the web site" through_tunnel bob
show_log server "connected|changed"
run alice ping -c 2 -i 0.2 -W 1 "$WEB4" || true
check "the server has mistaken bob for alice" logged server "address has changed peer=$BOB4"
stop alice # or she would push bob out in turn
wait_for 20 "bob reaches the web site" through_tunnel bob
say "And bob may use any source address. This is one that nobody has given him:"
run bob ip address add 10.8.0.77/32 dev vpn0
run bob ping -c 1 -W 2 -I 10.8.0.77 "$WEB4"
check "the server takes any source address (so the check below matters)" ping_once bob -I 10.8.0.77 "$WEB4"
stop bob
stop server

act "A key for each" \
	"The server has a key pair, and so has each client. The server knows the public keys of all clients, and each client knows the server's. The client file is all that bob needs; it must reach him over a safe channel." \
	"what does the server have to keep secret? What does it lose if somebody reads its registry?" \
	"only its private key. The registry has public keys and hashes of passwords, so whoever reads it can't come in; whoever can write it can."
run server bin/clients init "${FILES[@]}"
add alice
add bob
run server cat "$LAB/authorized_clients"
run bob sed 's/\(private-key  *....\).*/\1.../' "$LAB/bob.conf"
check "only the owner of a client file can read it" [ "$(stat -c %a "$LAB/bob.conf")" = 600 ]

act "Alice and bob at once" \
	"Both connect. Neither asks for a particular address: the server hands them out." \
	"which addresses do they get? Can they reach each other at these addresses?" \
	"10.8.0.2 and 10.8.0.3, each from the pool. No: the server passes nothing from client to client, and counts what it drops."
serve
join alice alice
join bob bob
show_log server "client is there|connected|is in|alice|bob"
run alice ip -br address show dev vpn0
run bob ip -br address show dev vpn0
check "alice and bob each have an address" eval 'at alice 10.8.0.2 && at bob 10.8.0.3'
check "the web site sees the server's address for both, at the same time" eval 'through_tunnel alice && through_tunnel bob'
run alice ping -c 1 -W 1 10.8.0.3 || true
count
show_log server "^server: "
check_not "alice does not reach bob inside the tunnel" ping_once alice 10.8.0.3
check "the server has dropped and counted alice's packet" [ "$(dropped to-client)" -ge 1 ]

act "Mallory has no key" \
	"Mallory sits in the cafe, too, and knows the server's address. First she has all that the program needs, except the server's public key; then she has found that key as well, and made a key pair of her own." \
	"what does the server answer in each case?" \
	"in the first case nothing, not even an error, as her message isn't made for the server's key. In the second she proves that she knows it, and is told that nobody knows hers."
mallory_makes blind
capture blind server eth0 "host 192.0.2.2 and udp port $PORT"
run cafe bin/client -profile "$LAB/blind.conf" -tries 2 || true
stop blind
mallory_makes seeing -server-key "$(on server bin/clients public-key -key "$LAB/server.key")"
capture seeing server eth0 "host 192.0.2.2 and udp port $PORT"
run cafe bin/client -profile "$LAB/seeing.conf" -tries 2 || true
stop seeing
keep "$LAB/blind.pcap"
say "What arrived at the server without its public key, and what it sent:"
packets blind | show
say "And with the server's public key:"
packets seeing | show
check "without the server's public key: her packets arrive" [ "$(packets blind "dst $SERVER4" | wc -l)" -ge 2 ]
check "and the server sends nothing back" [ -z "$(packets blind "src $SERVER4")" ]
check "with it: the server answers (so the capture can see an answer)" [ -n "$(packets seeing "src $SERVER4")" ]
check "and the answer says what is wrong" says "the server does not know this key" cafe bin/client -profile "$LAB/seeing.conf"
count
check "the server has counted both kinds of attempt" eval '[ "$(dropped bad-mac)" -ge 2 ] && [ "$(dropped refused)" -ge 2 ]'

act "Alice takes bob's address" \
	"Alice is in, and also gives herself bob's address. With it she could send packets in his name." \
	"how far does her packet get?" \
	"to the server, which drops it: the source address must be one that was handed to this client."
capture left alice vpn0 icmp
capture came server vpn0 icmp
run alice ip address add 10.8.0.3/32 dev vpn0
run alice ping -c 2 -i 0.2 -W 1 -I 10.8.0.3 "$WEB4" || true
run alice ping -c 1 -W 2 "$WEB4"
stop left
stop came
say "On alice's vpn0:"
packets left "icmp[0] == 8" | show
say "On the server's vpn0:"
packets came "icmp[0] == 8" | show
count
show_log server "^server: .*spoofed"
check "the packets left alice with bob's address" [ "$(packets left "src 10.8.0.3" | wc -l)" -ge 2 ]
check "none of them came out of the server's tunnel" [ -z "$(packets came "src 10.8.0.3")" ]
check "(a packet with her own address did)" [ -n "$(packets came "src 10.8.0.2")" ]
check "the server has counted them" [ "$(dropped spoofed)" -ge 2 ]
run alice ip address del 10.8.0.3/32 dev vpn0

act "The server is restarted" \
	"Bob has an open TCP connection to the web site, which echoes what he sends. Then the server stops, and starts again." \
	"which addresses do alice and bob have afterwards? What becomes of bob's connection?" \
	"the same, since leases are on the disk. The connection survives: its two ends have noticed a pause of some packets, and nothing of it is kept in the server but the addresses."
start echo web socat TCP-LISTEN:7,fork EXEC:cat
mkfifo "$LAB/bob-says"
exec {says}<>"$LAB/bob-says" # so that a write never waits for a reader
start chat bob socat "OPEN:$LAB/bob-says,rdwr!!STDOUT" "TCP:$WEB4:7,retry=100,interval=0.1"
echo before >&"$says"
wait_for 20 "bob hears his echo" logged chat before
stop server
serve
for who in alice bob; do wait_for 30 "$who is connected again" logged $who "INFO connected"; done
show_log bob "closed|INFO connected"
run alice ip -br address show dev vpn0
run bob ip -br address show dev vpn0
check "alice and bob have the same addresses as before" eval 'at alice 10.8.0.2 && at bob 10.8.0.3'
check "the web site sees the server's address for both" eval 'through_tunnel alice && through_tunnel bob'
echo after >&"$says"
check "bob's connection still works" wait_for 20 "bob hears his echo" logged chat after

act "A password, too" \
	"To the server, anybody who has bob's file is bob. So bob also gets a password, which is in no file of his." \
	"mallory now has a copy of bob's file, and guesses his password. How many can she try in an hour?" \
	"about twenty from one address: after each wrong one the wait doubles, from a second up to five minutes. With a whole network of addresses some 260."
stop chat
stop bob
echo "correct horse battery staple" >"$LAB/right"
echo "correct horse battery stable" >"$LAB/wrong"
run server bash -c "bin/clients passwd ${FILES[*]:0:2} bob <$LAB/right"
wait_for 10 "the server has noticed" logged server "registry read again"
run server grep bob "$LAB/authorized_clients"
run bob bash -c "echo 'user bob' >>$LAB/bob.conf"
run bob bash -c "exec bin/client -profile $LAB/bob.conf <$LAB/wrong" || true
say "After a wrong password, the server checks no other one for a second; after the next, for two seconds, then four, and so on."
run bob sleep 1
start bob bob bash -c "exec bin/client -profile $LAB/bob.conf <$LAB/right"
wait_for 20 "bob is in" logged bob "tunnel is up"
check "a wrong password is refused" logged server "wrong user name or password"
check "the right password lets him in, at his old address" eval 'at bob 10.8.0.3 && through_tunnel bob'

act "Bob is revoked" \
	"Bob has opened such a connection again. Now his line in the registry becomes a comment." \
	"how long does his connection last? Which way will his next one take?" \
	"until the server has read the registry, at once: it cuts off the session and forgets his connections. The next one leaves his host by the cafe, in the clear. Step 8 closes that."
start chat2 bob socat "OPEN:$LAB/bob-says,rdwr!!STDOUT" "TCP:$WEB4:7,retry=100,interval=0.1"
echo hello >&"$says"
wait_for 20 "bob hears his echo" logged chat2 hello
run server conntrack -L -f ipv4 -s 10.8.0.3
check_not "the server's kernel knows his connection, and he has an address" eval 'no_connections || no_lease'
clients revoke bob
wait_for 20 "bob is told" logged bob "has ended the session"
show_log bob "refuse|revoked|as they were"
show_log server "revoked|cut off"
run server grep bob "$LAB/authorized_clients"
wait_for 10 "the server has forgotten his connections" no_connections
wait_for 10 "his address is nobody's" no_lease
run server cat /var/lib/stepvpn/leases
check "bob was told why" logged bob "the access of this client was revoked"
check "the server's kernel has forgotten his connection" no_connections
check "his address is nobody's now" no_lease
check "he can't connect again" says "the server does not know this key" bob bash -c "exec bin/client -profile $LAB/bob.conf <$LAB/right"
check "alice has noticed nothing" through_tunnel alice
run bob curl -sS --max-time 5 "http://$WEB4/whoami"
check "but bob's host now talks to the web site in the clear, as before the VPN" seen_as bob "$BOB4"

act "The pool is full" \
	"The server gets a very small network: 10.8.0.1/30 has room for the server and one client." \
	"carol is in the registry, too. What is she told?" \
	"that the server has no free address, and to try again later."
stop alice
stop server
add carol
serve -addr 10.8.0.1/30
join alice alice
run bob bin/client -profile "$LAB/carol.conf" || true
show_log server carol
check "carol is told that no address is free" says "the server has no free address" bob bin/client -profile "$LAB/carol.conf"
check "and the server's log says how the addresses are used" logged server "of 10.8.0.0/30, 1 address"
stop alice
stop server

say "Still wrong: when bob was cut off, his host went on in the clear, without a warning. There is no kill switch."
finish
