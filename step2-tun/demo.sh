#!/usr/bin/env bash
# Step 2: a program reads the packets that alice sends into a network interface.
. "$(dirname "$0")/../shared/lab/lab.sh"

# state HOST: its addresses, routes and rules, without the kernel's own fe80:: addresses,
# which may appear late.
state() {
	on "$1" sh -c 'ip -oneline address show scope global; ip route; ip -6 route; ip rule; ip -6 rule' | grep -v '^fe80::'
}

# packets [REGEXP]: how many packets tundump has printed, or how many whose line matches.
packets() { grep -E '^[0-9:.]+ (malformed|[^ ]+ > )' "$LAB/tundump.log" | grep -cE -e "${1-}"; }

# printed N [REGEXP]: succeeds if tundump has printed N such packets or more.
printed() { [ "$(packets "${2-}")" -ge "$1" ]; }

# eve_saw NAME FILTER: succeeds if the capture has a packet that matches.
eve_saw() { tcpdump -nn -t -r "$LAB/$1.pcap" "$2" 2>/dev/null | grep -q .; }

# by_tundump, by_tcpdump FILE: time, source and destination of each packet. tcpdump
# writes a port after the address, which is removed here.
by_tundump() { sed -nE 's/^([0-9:.]+) ([^ ]+) > ([^ ]+) .*/\1 \2 \3/p' "$LAB/tundump.log"; }
by_tcpdump() {
	tcpdump -nn -r "$1" 2>/dev/null |
		sed -E 's/^([^ ]+) IP6? ([^ ]+) > ([^ ]+): .*/\1 \2 \3/; s/(([0-9]+\.){3}[0-9]+)\.[0-9]+/\1/g; s/(::[0-9a-f]+)\.[0-9]+/\1/g'
}

# agree FILE: tcpdump finds the same packets in it as tundump printed.
agree() { diff <(by_tundump) <(by_tcpdump "$1"); }

act "Before: an address that no host has" \
	"Alice pings 10.8.0.2, which is nobody's address. Her only way out is the cafe's router." \
	"where does the packet go? Who could answer it?" \
	"out by the default route, to the cafe's router, which passes it on until a router has no route to it. Nobody has the address, so nobody can answer."
capture without cafe br0
run alice ip route get 10.8.0.2
run alice ping -c 1 -W 1 10.8.0.2 || true
check "ping itself works: the server answers alice" on alice ping -c 1 -W 5 "$SERVER4"
check_not "10.8.0.2 does not answer" on alice ping -c 1 -W 1 10.8.0.2
check_not "alice has no interface vpn0" on alice ip link show vpn0
stop without
check "eve, in the cafe, saw the packet to 10.8.0.2 go by" eve_saw without "src $ALICE4 and dst 10.8.0.2"

act "A network interface that ends in a program" \
	"tundump makes the TUN device vpn0, and gives alice the address 10.8.0.1 on it. It prints each packet that alice sends into the device, and answers none." \
	"what does alice's ping say now? What do tundump and eve see?" \
	"it waits in vain. tundump prints each of its packets; eve sees none, as they never leave the host."
capture with cafe br0
state alice >"$LAB/before"
start tundump alice bin/tundump -pcap "$LAB/vpn0.pcap"
wait_for 10 "tundump has made the device" logged tundump "the device is up"
run alice ip -brief address show vpn0
run alice ip route get 10.8.0.2
run alice ping -c 2 -i 0.2 -W 0.5 10.8.0.2 || true
wait_for 10 "tundump prints two packets" printed 2
show_log tundump
check "both pings went into the program" printed 2 "10.8.0.1 > 10.8.0.2 +ICMP .* echo request"
check_not "nobody answers: the program is the network now, and it only watches" on alice ping -c 1 -W 0.5 10.8.0.2
wait_for 10 "tundump prints the third packet" printed 3
run alice ping -c 1 -W 5 "$SERVER4"
stop with
check "eve saw the ping to the server" eve_saw with "src $ALICE4 and dst $SERVER4 and icmp"
check_not "she did not see a packet to 10.8.0.2" eve_saw with "dst 10.8.0.2"

act "All kinds of packets" \
	"Alice's programs send UDP, TCP as a web browser does, a ping too long for one packet, and IPv6." \
	"which is the first packet of a TCP connection? Into how many pieces does a ping of 3000 bytes go?" \
	"the one with the flag SYN. 3000 bytes and the header of ICMP make three pieces: 1480, 1480 and the rest."
run alice bash -c 'echo hello >/dev/udp/10.8.0.2/5555'
run alice curl --silent --show-error --connect-timeout 0.5 http://10.8.0.2/ || true
run alice ping -c 1 -W 0.5 -s 3000 10.8.0.2 || true
run alice ping -c 1 -W 0.5 fd00:8::2 || true
run alice ping -c 1 -W 0.5 -s 3000 fd00:8::2 || true
wait_for 10 "tundump prints the last piece" printed 1 "ICMPv6 .* fragment at .* the last"
show_log tundump "UDP|TCP|bytes  ttl.*fragment|ICMPv6"
check "UDP, with its ports" printed 1 "UDP +34 bytes .* port [0-9]+ > 5555"
check "TCP, with its ports and the flag SYN" printed 1 "TCP .* port [0-9]+ > 80, SYN$"
check "three pieces of one IPv4 packet" printed 3 "10.8.0.2 +ICMP .* fragment at [0-9]+ of packet"
check "an IPv6 packet in one piece" printed 1 "fd00:8::1 > fd00:8::2 +ICMPv6 +104 bytes .* echo request, id [0-9]+, seq 1$"
check "three pieces of one IPv6 packet, each with its extension header" printed 3 "ICMPv6 .* fragment at .* extension headers: fragment$"
check_not "no packet is malformed" printed 1 "malformed"

act "Does tundump tell the truth?" \
	"tundump also wrote the packets to a file. tcpdump, which has nothing to do with our code, reads that file." \
	"which fields does tcpdump show that tundump leaves out?" \
	"TCP's sequence numbers, window and options, for example. They are nobody's business who forwards packets."
run alice tcpdump -nn -r "$LAB/vpn0.pcap"
check "tcpdump finds the same packets, at the same times, between the same addresses" agree "$LAB/vpn0.pcap"
# The last byte of the first packet's destination: headers of 24 and 16 bytes, then 19 bytes.
cp "$LAB/vpn0.pcap" "$LAB/changed.pcap"
printf '\x03' | dd of="$LAB/changed.pcap" bs=1 seek=59 conv=notrunc status=none
check_not "(the comparison notices when one byte of the file is changed)" agree "$LAB/changed.pcap"
keep "$LAB/vpn0.pcap"

act "The end of the program is the end of the device" \
	"Ctrl-C ends tundump. Then tundump starts once more, and is killed with SIGKILL, so that it can't clean up." \
	"who removes the device when the program can't do it any more?" \
	"the kernel. A TUN device lives as long as the file that the program has opened, and the kernel closes the files of every process that ends."
check "there is a device" on alice ip link show vpn0
stop tundump
check "Ctrl-C ends tundump without an error" [ "$STATUS" = 0 ]
check_not "the device is gone" on alice ip link show vpn0
start tundump alice bin/tundump
wait_for 10 "tundump has made the device" logged tundump "the device is up"
state alice >"$LAB/meanwhile"
check_not "(while it runs, alice's addresses and routes are not as before)" cmp "$LAB/before" "$LAB/meanwhile"
kill9 tundump
state alice >"$LAB/after"
check_not "the device is gone again" on alice ip link show vpn0
check "alice's addresses and routes are as they were before" cmp "$LAB/before" "$LAB/after"

say "Still wrong: the packets go no further. Another host should receive them, and answer. So we need two such programs, and a connection between them. That is step 3."
finish
