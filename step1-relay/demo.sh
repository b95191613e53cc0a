#!/usr/bin/env bash
# Step 1: two hosts that can't reach each other meet at a relay.
. "$(dirname "$0")/../shared/lab/lab.sh"

secret="the code of the safe is 2911"
mkdir "$LAB/alice" "$LAB/bob"
printf 'Dear Bob,\n%s.\nYours, Alice\n' "$secret" >"$LAB/alice/letter"
head -c 10000000 /dev/urandom >"$LAB/alice/film"

# reads NAME TEXT: succeeds if the capture of that name has the text in clear.
reads() { grep -qaF -e "$2" "$LAB/$1.pcap"; }

# seen NAME FILTER: succeeds if the capture has a packet that matches.
seen() { tcpdump -nn -t -r "$LAB/$1.pcap" "$2" 2>/dev/null | grep -q .; }

# listening HOST: succeeds if a program listens on the port there.
listening() { on "$1" ss -Hltn "sport = :$PORT" | grep -q .; }

# connected: succeeds if alice has a connection to the relay.
connected() { on alice ss -Htn state established "dport = :$PORT" | grep -q .; }

# same FILE FILE: the hashes are equal.
same() { [ "$(sha256sum <"$1")" = "$(sha256sum <"$2")" ]; }

act "Before: alice can't reach bob" \
	"Like many public networks, the cafe keeps its guests apart. Bob waits for a letter, and alice tries to send it." \
	"alice and bob can both reach the internet. Does that help them?" \
	"no: neither can call the other, but each can call a third host. So a program on that third host can pass on what they say."
run cafe bridge link set dev alice0 isolated on
run cafe bridge link set dev bob0 isolated on
capture before cafe br0
start bob-listens bob socat -u "TCP-LISTEN:$PORT" "CREATE:$LAB/bob/letter"
wait_for 10 "bob listens" listening bob
run alice socat -u "OPEN:$LAB/alice/letter" "TCP:$BOB4:$PORT,connect-timeout=2" || true
check "bob is listening, so the fault is not his" listening bob
check_not "alice's letter does not reach him" test -s "$LAB/bob/letter"
check "alice reaches the server" on alice ping -c 1 -W 5 "$SERVER4"
check "bob reaches the server" on bob ping -c 1 -W 5 "$SERVER4"
stop bob-listens
stop before

act "The relay joins them" \
	"The server runs the relay. It accepts two connections and pipes bytes between them. Both alice and bob connect to the relay, so neither has to be reachable." \
	"what does the relay know about the letter?" \
	"all of it, and who talks to whom. It reads each byte in order to pass it on."
start relay server bin/relay -hex
wait_for 10 "the relay listens" logged relay "listening"
capture eve cafe br0
start bob bob socat -u "TCP:$SERVER4:$PORT" "CREATE:$LAB/bob/letter"
wait_for 10 "bob waits" logged relay "waiting for a partner"
run alice socat -u "OPEN:$LAB/alice/letter" "TCP:$SERVER4:$PORT"
wait_for 10 "the pair has finished" logged relay "finished pair=1"
stop eve
show_log relay
run bob cat "$LAB/bob/letter"
check "the letter came through" same "$LAB/alice/letter" "$LAB/bob/letter"
stop relay

act "A file of 10 MB" \
	"Now alice connects first and sends at once, before anybody is there to receive. Bob connects later." \
	"is the beginning of the film lost? Whose memory holds it until bob comes?" \
	"nothing is lost. The bytes wait in the kernel's buffers, alice's and the server's; the relay holds none until bob comes. When the buffers are full, TCP makes alice's program wait."
start relay server bin/relay
wait_for 10 "the relay listens" logged relay "listening"
start alice alice socat -u "OPEN:$LAB/alice/film" "TCP:$SERVER4:$PORT"
wait_for 10 "alice waits" logged relay "waiting for a partner from=$ALICE4"
run bob socat -u "TCP:$SERVER4:$PORT" "CREATE:$LAB/bob/film"
wait_for 10 "the pair has finished" logged relay "finished pair=1"
say "The last lines of the relay's log:"
run server tail -n 4 "$LAB/relay.log"
run alice sha256sum "$LAB/alice/film"
run bob sha256sum "$LAB/bob/film"
check "the film has the same hash" same "$LAB/alice/film" "$LAB/bob/film"
printf x >>"$LAB/bob/film"
check_not "(with one byte more, the hash differs)" same "$LAB/alice/film" "$LAB/bob/film"

act "A question and an answer" \
	"Bob counts the bytes that he receives and answers with the number. He can do so only once he knows that alice has sent everything, and she must still be connected to receive the answer: one half of the connection closes, and the other stays open." \
	"how does bob learn, through the relay, that there is no more to come?" \
	"TCP can close one half of a connection. The relay reads the end of alice's bytes, and closes its sending half towards bob, who reads the end, too; the way back stays open."
start bob-counts bob socat "TCP:$SERVER4:$PORT" "EXEC:wc -c"
wait_for 10 "bob waits" logged relay "waiting for a partner from=$BOB4"
run alice socat -t 10 "OPEN:$LAB/alice/letter!!CREATE:$LAB/alice/answer" "TCP:$SERVER4:$PORT"
run alice cat "$LAB/alice/answer"
check "the answer is the length of the letter" [ "$(<"$LAB/alice/answer")" = "$(wc -c <"$LAB/alice/letter")" ]

act "Eve reads along" \
	"Eve sat in the cafe and recorded: once before there was a relay, once when the letter was sent." \
	"what can she read?" \
	"the letter, letter by letter. The relay made a meeting possible, not a secret."
check "her first capture has alice's attempt to find bob" seen before "arp and host $BOB4"
check_not "but not the letter, which was never sent" reads before "$secret"
check "her second capture has alice's connection to the relay" seen eve "src $ALICE4 and dst $SERVER4 and tcp dst port $PORT"
check_not "a text that nobody sent is not in it" reads eve "${secret/safe/shed}"
run cafe grep -a -m 1 'the code of' "$LAB/eve.pcap"
check "eve reads the letter: the relay does not encrypt" reads eve "$secret"
keep "$LAB/eve.pcap"

act "The end, and no partner" \
	"Alice is connected and waits when Ctrl-C ends the relay. The relay then starts again, with only a second to wait for a partner, and alice connects once more." \
	"what does alice get, the first time and the second?" \
	"the first time a closed connection, without a word, as the relay stops. The second time a line that says that no partner came."
start alice-waits alice socat -u "TCP:$SERVER4:$PORT" STDOUT
wait_for 10 "alice is connected" connected
stop relay
check "Ctrl-C ends the relay without an error" [ "$STATUS" = 0 ]
check_not "and nobody is connected any more" connected
start relay server bin/relay -wait 1s
wait_for 10 "the relay listens" logged relay "listening"
run alice socat -u "TCP:$SERVER4:$PORT" "CREATE:$LAB/alice/told"
run alice cat "$LAB/alice/told"
check "alice is told that no partner came" grep -q "no partner came" "$LAB/alice/told"
stop relay

say "Still wrong: eve reads everything, and so does the relay. And it carries one stream of bytes between two programs that agreed to meet there. A network carries packets, between any two programs. Where do those come from? That is step 2."
finish
