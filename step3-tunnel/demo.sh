#!/usr/bin/env bash
# Step 3: alice's packets travel to the server inside other packets.
. "$(dirname "$0")/../shared/lab/lab.sh"

SIZE=10000000
INNER=10.8.0.1 # the server, inside the tunnel

# fetch FILE URL: downloads to $LAB/FILE.
fetch() { on alice curl -sS --max-time 50 -o "$LAB/$1" "$2"; }

# reads NAME TEXT: succeeds if the capture of that name has the text in clear.
reads() { grep -qaF -e "$2" "$LAB/$1.pcap"; }

# seen NAME [FILTER]: prints the packets of a capture. found: succeeds if there is one.
seen() { tcpdump -nn -t -r "$LAB/$1.pcap" "${2-}" 2>/dev/null; }
found() { [ -n "$(seen "$@")" ]; }

act "Before: there is no such network" \
	"10.8.0.1 will be the server's address in a network that does not exist yet. No router on the way knows it." \
	"what does alice's ping say?" \
	"nothing answers: no host has the address, so the packet leaves by the default route and is lost."
run alice ping -c 1 -W 1 $INNER || true
check_not "without a tunnel 10.8.0.1 does not answer" on alice ping -c 1 -W 1 $INNER

act "The tunnel" \
	"Each host gets a TUN device. Our program sends each packet that the kernel puts into the device to the other host in a UDP datagram, and hands each packet that arrives to the kernel." \
	"how large can a packet in the tunnel be, if one on the wire has 1500 bytes?" \
	"1472 bytes over IPv4: 1500, less 20 for the outer IP header and 8 for UDP's. The client has found that out from the path to the server."
start server server bin/server
start client alice bin/client -server "$SERVER4:$PORT"
wait_for 10 "the client is up" logged client "tunnel is up"
wait_for 10 "the server is up" logged server "tunnel is up"
show_log client "tunnel is up"
wait_for 10 "the tunnel carries packets" on alice ping -c 1 -W 1 $INNER
run alice ping -c 3 -i 0.2 -w 10 $INNER
run alice ping -c 2 -i 0.2 -w 10 fd00:8::1
check "IPv4 crosses the tunnel" on alice ping -c 1 -W 5 $INNER
check "IPv6 crosses the same tunnel, inside IPv4" on alice ping -c 1 -W 5 fd00:8::1

act "What the wire carries" \
	"A ping is an IP packet. The client puts it into a UDP datagram, which travels in another IP packet. Eve, in the cafe, records what passes; alice records what enters her vpn0." \
	"which addresses does the outer packet have, and which the inner one?" \
	"the outer one alice's and the server's public addresses, the inner one 10.8.0.2 and 10.8.0.1."
capture inside alice vpn0 icmp
capture outside cafe br0
on alice ping -c 1 -W 5 $INNER >/dev/null
stop inside
stop outside
seen inside icmp | show
seen outside ip | show
check "at vpn0 there is a ping (so the search below can find one)" found inside icmp
check_not "on the wire there is no ping" found outside icmp
check "on the wire there are datagrams to the server's port" found outside "src $ALICE4 and dst $SERVER4 and udp dst port $PORT"

act "A download of 10 MB" \
	"The web site now runs on the server, at its address inside the tunnel." \
	"what would a lost datagram do to the file?" \
	"nothing: TCP, inside the tunnel, notices and sends that part again. The tunnel itself repeats nothing."
serve_web server
fetch file "http://$INNER/file?bytes=$SIZE"
want=$(on alice curl -sS "http://$INNER/file.sha256?bytes=$SIZE")
got=$(sha256sum <"$LAB/file")
say "sha256 on the server: $want"
say "sha256 at alice:      ${got%% *}"
check "10 MB came through unchanged" [ "$want" = "${got%% *}" ]
check_not "(the comparison notices one changed byte)" [ "$want" = "$({ head -c 5000000 "$LAB/file"; printf x; tail -c 4999999 "$LAB/file"; } | sha256sum | cut -d' ' -f1)" ]

act "Eve reads along" \
	"Alice logs in to the web site, through the tunnel. Eve records what passes through the cafe." \
	"does a tunnel hide the password?" \
	"no. It is inside two packets instead of one, in clear."
capture eve cafe br0
check_not "before alice logs in, eve has no password" reads eve "correct-horse"
run alice curl -sS -d user=alice -d password=correct-horse "http://$INNER/login"
stop eve
keep "$LAB/eve.pcap"
run cafe grep -aoF 'user=alice&password=correct-horse' "$LAB/eve.pcap"
check "eve reads the password: this tunnel does not encrypt" reads eve "correct-horse"

act "The server restarts" \
	"Neither program keeps any state that the other depends on, so either may stop and start again." \
	"must the client be restarted, too?" \
	"no. The client goes on sending, and the server takes the address from which packets come as its peer's."
kill9 server
start server server bin/server
wait_for 20 "the tunnel works again" on alice ping -c 1 -W 1 $INNER
check "the tunnel works again, without a restart of the client" on alice ping -c 1 -W 5 $INNER

act "The same over TCP, and over IPv6" \
	"Some networks let only TCP through. A stream has no packet boundaries, so each packet is preceded by its length." \
	"is there more or less room for a packet now than over UDP and IPv4?" \
	"less: the IPv6 header takes 40 bytes instead of 20, TCP's at least 20 (32 with timestamps) instead of 8, and the length 2 more."
stop client
stop server
start server server bin/server -transport tcp
start client alice bin/client -transport tcp -server "[$SERVER6]:$PORT"
wait_for 10 "the client is up" logged client "tunnel is up"
show_log client "tunnel is up"
wait_for 20 "the tunnel carries packets" on alice ping -c 1 -W 1 $INNER
fetch file-tcp "http://$INNER/file?bytes=$SIZE"
check "10 MB came through TCP over IPv6 unchanged" cmp "$LAB/file" "$LAB/file-tcp"
stop client
stop server
grep -oE "sent [^;]*; received [^;]*" "$LAB/client.log" | show
check "the client ended without an error" [ "$STATUS" = 0 ]

say "Still wrong: eve reads everything, and an attacker on the way could change it. That is step 4."
finish
