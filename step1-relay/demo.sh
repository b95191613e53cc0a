#!/usr/bin/env bash
# Alice and bob can't reach each other. A relay that both reach joins them, and
# eve, who sits between, reads all of it.
. "$(dirname "$0")/../shared/lab/lab.sh"

text='the code of the safe is 2911'
mkdir "$LAB/alice" "$LAB/bob"
letter=$LAB/alice/letter.txt
printf 'Dear Bob,\n%s.\nYours, Alice\n' "$text" >"$letter"
head -c 10000000 /dev/urandom >"$LAB/alice/holiday.mp4"

# in_capture NAME TEXT: eve finds the text in her capture.
in_capture() { grep -qaF -e "$2" "$LAB/$1.pcap"; }
# same FILE FILE: the hashes are equal.
same() { [ "$(sha256sum <"$1")" = "$(sha256sum <"$2")" ]; }
# captured NAME PATTERN: tcpdump reads such a packet in the capture.
captured() { tcpdump -Z root -n -r "$LAB/$1.pcap" 2>/dev/null | grep -qE -e "$2"; }

act "Two hosts that can't reach each other" \
	"Like many public networks, the cafe keeps its guests apart: no guest reaches another.
Bob waits for a letter on port $PORT, and alice tries to send it."  \
	"Both can reach the internet. Does that help them?"
run cafe bridge link set dev alice0 isolated on
run cafe bridge link set dev bob0 isolated on
capture before cafe br0
start bob bob socat -u "TCP-LISTEN:$PORT" "CREATE:$LAB/bob/direct.txt"
wait_for 10 "bob listens" bash -c "nsenter --net=/run/netns/bob ss -Hltn sport = :$PORT | grep -q ."
run alice socat -u "OPEN:$letter" "TCP:$BOB4:$PORT,connect-timeout=2" || true
check_not "alice's letter reaches bob directly" test -s "$LAB/bob/direct.txt"
stop bob
