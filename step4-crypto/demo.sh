#!/usr/bin/env bash
# Step 4: eve reads nothing, and mallory changes nothing.
NEEDS=../step3-tunnel # its programs, to show what they lack
. "$(dirname "$0")/../shared/lab/lab.sh"

SIZE=10000000
INNER=10.8.0.1 # the server, inside the tunnel
SECRET=correct-horse

login() { run alice curl -sS --max-time 20 -d user=alice -d password=$SECRET "http://$INNER/login"; }

# reads NAME TEXT: succeeds if the capture of that name has the text in clear.
reads() { grep -qaF -e "$2" "$LAB/$1.pcap"; }

# up: waits until the tunnel carries packets.
up() { wait_for 30 "the tunnel carries packets" on alice ping -c 1 -W 1 $INNER; }

# dropped NAME REASON: succeeds if the program has counted a drop for that reason.
dropped() { grep -qE "dropped:.* $2 [1-9]" "$LAB/$1.log"; }

act "Before: the tunnel of step 3" \
	"Alice logs in through a tunnel that does not encrypt. Eve records in the cafe." \
	"what does eve get?" \
	"the password, as in step 3."
start server server ../step3-tunnel/bin/server
start client alice ../step3-tunnel/bin/client -server "$SERVER4:$PORT"
serve_web server
up
capture before cafe br0
login
stop before
run cafe grep -aoF "password=$SECRET" "$LAB/before.pcap"
check "without encryption eve reads the password (so her search works)" reads before $SECRET
stop client
stop server

act "A key" \
	"Client and server share a key of 32 random bytes. Anyone who has the key gets in, so nobody else may read the file." \
	"what will the server say to a key file that everybody can read?" \
	"it refuses to start: what others can read is no secret."
run server bin/keygen -out "$LAB/vpn.key"
run server ls -l "$LAB/vpn.key"
cp "$LAB/vpn.key" "$LAB/open.key"
chmod 644 "$LAB/open.key"
run server bin/server -key "$LAB/open.key" || true
check_not "a key that others can read is refused" on server bin/server -key "$LAB/open.key"

act "The same login, encrypted" \
	"Nothing else has changed: the tunnel, the site and eve are the same." \
	"what can eve still find out?" \
	"who talks to whom, when, how often, and how much, rounded up to 16 bytes. Not the password, and not the page."
start server server bin/server -key "$LAB/vpn.key"
start client alice bin/client -key "$LAB/vpn.key" -server "$SERVER4:$PORT"
up
show_log client "tunnel is up"
capture eve cafe br0
login
stop eve
keep "$LAB/eve.pcap"
say "Eve sees who talks to whom, when, and how much:"
tcpdump -nn -t -r "$LAB/eve.pcap" "udp port $PORT" 2>/dev/null | head -n 4 | show
check "eve's capture has the login's datagrams" [ "$(tcpdump -nn -r "$LAB/eve.pcap" "udp port $PORT" 2>/dev/null | wc -l)" -ge 6 ]
check_not "eve cannot read the password" reads eve $SECRET
check_not "eve cannot even read which page alice visited" reads eve login
stop client
stop server

act "The wrong key" \
	"A client with another key asks the server for a session." \
	"what does the server answer?" \
	"nothing at all. An answer would tell a stranger that there is a VPN. It counts the message."
run alice bin/keygen -out "$LAB/other.key"
start server server bin/server -key "$LAB/vpn.key"
wait_for 10 "the server is up" logged server "tunnel is up"
capture silence cafe br0 src "$SERVER4" and udp port "$PORT"
run alice bin/client -key "$LAB/other.key" -server "$SERVER4:$PORT" -tries 2 || true
stop silence
check "the server answers nothing at all" [ -z "$(tcpdump -nn -r "$LAB/silence.pcap" 2>/dev/null)" ]
start client alice bin/client -key "$LAB/vpn.key" -server "$SERVER4:$PORT"
up
stop client
stop server
check "(it does answer a client that has the key)" logged client "tunnel is up"
say "The server's counter: $(grep -o 'bad-tag [0-9]*' "$LAB/server.log")"
check "it counted the messages that it could not decrypt" dropped server bad-tag

act "Mallory" \
	"Now the cafe itself is the attacker. It redirects alice's datagrams to mallory, who passes them on, but flips a bit in some and sends some twice." \
	"will the download be correct? What will the counters say?" \
	"yes. Both ends drop the changed datagrams (bad-tag) and the repeated ones (replayed), and TCP sends again what is missing."
run cafe iptables -t nat -A PREROUTING -i br0 -p udp -d "$SERVER4" --dport "$PORT" -j REDIRECT --to-ports 6666
start mallory cafe bin/mallory -server "$SERVER4:$PORT"
start server server bin/server -key "$LAB/vpn.key"
start client alice bin/client -key "$LAB/vpn.key" -server "$SERVER4:$PORT"
up
want=$(on alice curl -sS --max-time 20 "http://$INNER/file.sha256?bytes=$SIZE")
on alice curl -sS --max-time 50 -o "$LAB/file" "http://$INNER/file?bytes=$SIZE"
got=$(sha256sum <"$LAB/file")
say "sha256 on the server: $want"
say "sha256 at alice:      ${got%% *}"
check "10 MB came through unchanged" [ "$want" = "${got%% *}" ]
stop client
stop server
stop mallory
show_log mallory "flipped"
say "What the two ends dropped because of that:"
for end in client server; do
	grep -o 'bad-tag [0-9]*, replayed [0-9]*' "$LAB/$end.log" | sed "s/^/$end: /" | show
done
check "mallory did flip bits and replay" grep -qE "in [1-9][0-9]*, replayed [1-9]" "$LAB/mallory.log"
check "alice's client dropped the changed datagrams" dropped client bad-tag
check "alice's client dropped the repeated datagrams" dropped client replayed

say "Still wrong: only traffic to the server itself goes through the tunnel. The rest of alice's traffic does not. That is step 5."
finish
