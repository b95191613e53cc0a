package packet

// sample is a packet and the line that describes it.
type sample struct {
	packet []byte
	line   string
}

const (
	from4 = "10.8.0.1 > 10.8.0.2    "
	from6 = "fd00:8::1 > fd00:8::2  "
)

// good are packets that are as they should be.
var good = []sample{
	{v4(ProtoICMP, icmp(8, 0, 7<<16|1, zeros(56))), from4 + "ICMP      84 bytes  ttl 64   echo request, id 7, seq 1"},
	{v4(ProtoICMP, icmp(0, 0, 7<<16|1, zeros(56))), from4 + "ICMP      84 bytes  ttl 64   echo reply, id 7, seq 1"},
	{v4(ProtoICMP, icmp(3, 3, 0, zeros(28))), from4 + "ICMP      56 bytes  ttl 64   port unreachable type 3 code 3"},
	{v4(ProtoICMP, icmp(3, 4, 1400, zeros(28))), from4 + "ICMP      56 bytes  ttl 64   packet too big type 3 code 4, mtu 1400"},
	{v4(ProtoICMP, icmp(3, 200, 0, nil)), from4 + "ICMP      28 bytes  ttl 64   destination unreachable type 3 code 200"},
	{v4(ProtoICMP, icmp(11, 0, 0, zeros(28))), from4 + "ICMP      56 bytes  ttl 64   time exceeded"},
	{v4(ProtoICMP, icmp(99, 1, 0, nil)), from4 + "ICMP      28 bytes  ttl 64   type 99 code 1"},
	{v4(ProtoUDP, udp(40000, 5555, zeros(5))), from4 + "UDP       33 bytes  ttl 64   port 40000 > 5555"},
	{v4(ProtoTCP, tcp(40000, 80, 0x02, nil)), from4 + "TCP       40 bytes  ttl 64   port 40000 > 80, SYN"},
	{v4(ProtoTCP, tcp(80, 40000, 0x12, nil)), from4 + "TCP       40 bytes  ttl 64   port 80 > 40000, SYN+ACK"},
	{v4(ProtoTCP, tcp(1, 2, 0xff, nil)), from4 + "TCP       40 bytes  ttl 64   port 1 > 2, FIN+SYN+RST+PSH+ACK+URG+ECE+CWR"},
	{v4(ProtoTCP, tcp(1, 2, 0, nil)), from4 + "TCP       40 bytes  ttl 64   port 1 > 2, no flags"},
	{v4(47, zeros(4)), from4 + "GRE       24 bytes  ttl 64"},
	{v4(253, nil), from4 + "protocol 253    20 bytes  ttl 64"},
	{v4(ProtoICMPv6, zeros(1)), from4 + "ICMPv6    21 bytes  ttl 64"}, // does not belong into IPv4
	{with(v4(ProtoUDP, udp(1, 2, nil)), 10, 0, 0), from4 + "UDP       28 bytes  ttl 64   port 1 > 2, bad header checksum"},

	// Options: record-route, then padding; an unknown one; an end with rubbish behind it.
	{v4(ProtoUDP, udp(1, 2, nil), 7, 7, 4, 0, 0, 0, 0, 0), from4 + "UDP       36 bytes  ttl 64   port 1 > 2, options: record-route"},
	{v4(ProtoUDP, udp(1, 2, nil), 1, 1, 222, 2, 148, 4, 0, 0), from4 + "UDP       36 bytes  ttl 64   port 1 > 2, options: option 222 router-alert"},
	{v4(ProtoUDP, udp(1, 2, nil), 0, 7, 255, 255), from4 + "UDP       32 bytes  ttl 64   port 1 > 2"},

	// Fragments: only the first has the ports, and its datagram goes beyond it.
	{v4Fragment(ProtoUDP, Fragment{ID: 9, More: true}, udp(1, 2, zeros(4000))[:1480]),
		from4 + "UDP     1500 bytes  ttl 64   port 1 > 2, fragment at 0 of packet 9, more follow"},
	{v4Fragment(ProtoUDP, Fragment{ID: 9, Offset: 1480, More: true}, zeros(8)),
		from4 + "UDP       28 bytes  ttl 64   fragment at 1480 of packet 9, more follow"},
	{v4Fragment(ProtoTCP, Fragment{ID: 9, Offset: 65512}, zeros(3)), // the packet has 65535 bytes
		from4 + "TCP       23 bytes  ttl 64   fragment at 65512 of packet 9, the last"},

	{v6(ProtoICMPv6, icmp(128, 0, 7<<16|1, zeros(56))), from6 + "ICMPv6   104 bytes  ttl 64   echo request, id 7, seq 1"},
	{v6(ProtoICMPv6, icmp(129, 0, 7<<16|1, zeros(56))), from6 + "ICMPv6   104 bytes  ttl 64   echo reply, id 7, seq 1"},
	{v6(ProtoICMPv6, icmp(1, 4, 0, zeros(48))), from6 + "ICMPv6    96 bytes  ttl 64   port unreachable type 1 code 4"},
	{v6(ProtoICMPv6, icmp(2, 0, 1280, nil)), from6 + "ICMPv6    48 bytes  ttl 64   packet too big, mtu 1280"},
	{v6(ProtoICMPv6, icmp(2, 0, 1<<32-1, nil)), from6 + "ICMPv6    48 bytes  ttl 64   packet too big, mtu 2147483647"},
	{v6(ProtoICMPv6, icmp(133, 0, 0, nil)), from6 + "ICMPv6    48 bytes  ttl 64   router solicitation"},
	{v6(ProtoICMPv6, []byte{200, 0, 0, 0}), from6 + "ICMPv6    44 bytes  ttl 64   type 200 code 0"},
	{v6(ProtoUDP, udp(40000, 5555, zeros(5))), from6 + "UDP       53 bytes  ttl 64   port 40000 > 5555"},
	{v6(ProtoTCP, tcp(40000, 80, 0x02, nil)), from6 + "TCP       60 bytes  ttl 64   port 40000 > 80, SYN"},
	{v6(NoNextHeader), from6 + "no-next-header    40 bytes  ttl 64"},
	{v6(ProtoICMP, zeros(1)), from6 + "ICMP      41 bytes  ttl 64"}, // does not belong into IPv6

	// Extension headers.
	{v6(HopByHop, extension(ProtoUDP, 0), udp(1, 2, nil)),
		from6 + "UDP       56 bytes  ttl 64   port 1 > 2, extension headers: hop-by-hop"},
	{v6(HopByHop, extension(DestinationOptions, 2), extension(Routing, 0), extension(AH, 1), authentication(ProtoTCP), tcp(1, 2, 1, nil)),
		from6 + "TCP      132 bytes  ttl 64   port 1 > 2, FIN, extension headers: hop-by-hop destination-options routing AH"},
	{v6(DestinationOptions, extension(ESP, 0), zeros(20)),
		from6 + "ESP       68 bytes  ttl 64   extension headers: destination-options"},
	{v6(DestinationOptions, extension(NoNextHeader, 0), zeros(20)),
		from6 + "no-next-header    68 bytes  ttl 64   extension headers: destination-options"},
	{v6(FragmentHeader, fragmentHeader(ProtoUDP, Fragment{ID: 70000, More: true}), udp(1, 2, zeros(4000))[:1448]),
		from6 + "UDP     1496 bytes  ttl 64   port 1 > 2, fragment at 0 of packet 70000, more follow, extension headers: fragment"},
	{v6(FragmentHeader, fragmentHeader(DestinationOptions, Fragment{ID: 70000, Offset: 1448}), zeros(3)),
		from6 + "destination-options    51 bytes  ttl 64   fragment at 1448 of packet 70000, the last, extension headers: fragment"},
	{v6(FragmentHeader, fragmentHeader(ProtoUDP, Fragment{ID: 5}), udp(1, 2, nil)), // RFC 6946: one piece
		from6 + "UDP       56 bytes  ttl 64   port 1 > 2, extension headers: fragment"},
}

// notIP are refused by Check, and by Parse before it reads anything.
var notIP = []sample{
	{nil, "malformed: empty (0 bytes: )"},
	{[]byte{0x50}, "malformed: IP version is neither 4 nor 6 (1 bytes: 50)"},
	{zeros(40), "malformed: IP version is neither 4 nor 6 (40 bytes: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00)"},
	{v4(ProtoUDP, nil)[:19], "malformed: shorter than the 20 bytes of an IPv4 header (19 bytes: 45 00 00 14 00 00 00 00 40 11 66 c7 0a 08 00 01)"},
	{with(v4(ProtoUDP, nil), 0, 0x44), "malformed: IPv4 header length is under 20 bytes, or beyond the packet (20 bytes: 44 00 00 14 00 00 00 00 40 11 66 c7 0a 08 00 01)"},
	{with(v4(ProtoUDP, nil), 0, 0x4f), "malformed: IPv4 header length is under 20 bytes, or beyond the packet (20 bytes: 4f 00 00 14 00 00 00 00 40 11 66 c7 0a 08 00 01)"},
	{with(v4(ProtoUDP, nil), 2, 0, 21), "malformed: length field differs from the number of bytes (20 bytes: 45 00 00 15 00 00 00 00 40 11 66 c7 0a 08 00 01)"},
	{with(v4(ProtoUDP, nil), 2, 0, 0), "malformed: length field differs from the number of bytes (20 bytes: 45 00 00 00 00 00 00 00 40 11 66 c7 0a 08 00 01)"},
	{append(v4(ProtoUDP, udp(1, 2, nil)), 0), "malformed: length field differs from the number of bytes (29 bytes: 45 00 00 1c 00 00 00 00 40 11 66 bf 0a 08 00 01)"},
	{v6(NoNextHeader)[:39], "malformed: shorter than the 40 bytes of an IPv6 header (39 bytes: 60 00 00 00 00 00 3b 40 fd 00 00 08 00 00 00 00)"},
	{append(v6(NoNextHeader), 0), "malformed: length field differs from the number of bytes (41 bytes: 60 00 00 00 00 00 3b 40 fd 00 00 08 00 00 00 00)"},
	// A jumbogram (RFC 2675): the payload length is 0, and an option has the real one.
	{with(v6(HopByHop, extension(ProtoUDP, 0), zeros(70000)), 4, 0, 0), "malformed: length field differs from the number of bytes (70048 bytes: 60 00 00 00 00 00 00 40 fd 00 00 08 00 00 00 00)"},
}

// broken are whole packets to Check, and malformed behind the fixed header.
var broken = []sample{
	// Options: no length; a length of 0, which would loop for ever; of 1; beyond the header.
	{v4(ProtoUDP, udp(1, 2, nil), 1, 1, 1, 7), from4 + "UDP       32 bytes  ttl 64, malformed: IPv4 option has an impossible length"},
	{v4(ProtoUDP, udp(1, 2, nil), 7, 0, 0, 0), from4 + "UDP       32 bytes  ttl 64, malformed: IPv4 option has an impossible length"},
	{v4(ProtoUDP, udp(1, 2, nil), 7, 1, 0, 0), from4 + "UDP       32 bytes  ttl 64, malformed: IPv4 option has an impossible length"},
	{v4(ProtoUDP, udp(1, 2, nil), 148, 4, 0, 0, 7, 5, 0, 0), from4 + "UDP       36 bytes  ttl 64   options: router-alert, malformed: IPv4 option has an impossible length"},

	// Fragments: beyond the largest packet ("ping of death"), a hole, too short for a header.
	{v4Fragment(ProtoICMP, Fragment{ID: 9, Offset: 65528}, zeros(8)), from4 + "ICMP      28 bytes  ttl 64   fragment at 65528 of packet 9, the last, malformed: fragment ends beyond 65535 bytes"},
	{v4Fragment(ProtoICMP, Fragment{ID: 9, Offset: 65512}, zeros(4)), from4 + "ICMP      24 bytes  ttl 64   fragment at 65512 of packet 9, the last, malformed: fragment ends beyond 65535 bytes"},
	{v4Fragment(ProtoUDP, Fragment{ID: 9, Offset: 8, More: true}, zeros(7)), from4 + "UDP       27 bytes  ttl 64   fragment at 8 of packet 9, more follow, malformed: fragment is not the last, but its length is no multiple of 8 bytes"},
	{v4Fragment(ProtoTCP, Fragment{ID: 9, More: true}, zeros(8)), from4 + "TCP       28 bytes  ttl 64   fragment at 0 of packet 9, more follow, malformed: shorter than the 20 bytes of a TCP header"},
	{v6(FragmentHeader, fragmentHeader(ProtoUDP, Fragment{ID: 9, Offset: 65528}), zeros(8)), from6 + "fragment    56 bytes  ttl 64   fragment at 65528 of packet 9, the last, extension headers: fragment, malformed: fragment ends beyond 65535 bytes"},

	// Extension headers: cut off, longer than the packet, out of order, without end.
	{v6(HopByHop), from6 + "hop-by-hop    40 bytes  ttl 64, malformed: IPv6 extension header goes beyond the packet"},
	{v6(DestinationOptions, zeros(7)), from6 + "destination-options    47 bytes  ttl 64, malformed: IPv6 extension header goes beyond the packet"},
	{v6(Routing, with(extension(ProtoUDP, 0), 1, 255), udp(1, 2, nil)), from6 + "routing    56 bytes  ttl 64, malformed: IPv6 extension header goes beyond the packet"},
	{v6(AH, authentication(ProtoUDP)[:23]), from6 + "AH        63 bytes  ttl 64, malformed: IPv6 extension header goes beyond the packet"},
	{v6(DestinationOptions, extension(FragmentHeader, 0), fragmentHeader(ProtoUDP, Fragment{ID: 9, Offset: 65528}), zeros(1)), from6 + "fragment    57 bytes  ttl 64   fragment at 65528 of packet 9, the last, extension headers: destination-options fragment, malformed: fragment ends beyond 65535 bytes"},
	{v6(FragmentHeader, zeros(7)), from6 + "fragment    47 bytes  ttl 64, malformed: IPv6 extension header goes beyond the packet"},
	{v6(DestinationOptions, extension(HopByHop, 0), extension(ProtoUDP, 0), udp(1, 2, nil)), from6 + "hop-by-hop    64 bytes  ttl 64   extension headers: destination-options, malformed: IPv6 hop-by-hop header is not the first"},
	{v6(DestinationOptions, chain(17), udp(1, 2, nil)), from6 + "destination-options   184 bytes  ttl 64   extension headers: " +
		"destination-options destination-options destination-options destination-options destination-options destination-options destination-options destination-options " +
		"destination-options destination-options destination-options destination-options destination-options destination-options destination-options destination-options" +
		", malformed: more than 16 IPv6 extension headers"},

	// Transport.
	{v4(ProtoTCP, nil), from4 + "TCP       20 bytes  ttl 64, malformed: shorter than the 20 bytes of a TCP header"},
	{v6(ProtoTCP, zeros(19)), from6 + "TCP       59 bytes  ttl 64, malformed: shorter than the 20 bytes of a TCP header"},
	{v4(ProtoTCP, with(tcp(1, 2, 2, nil), 12, 0x40)), from4 + "TCP       40 bytes  ttl 64   port 1 > 2, SYN, malformed: TCP header length is under 20 bytes, or beyond the packet"},
	{v4(ProtoTCP, with(tcp(1, 2, 2, nil), 12, 0x60)), from4 + "TCP       40 bytes  ttl 64   port 1 > 2, SYN, malformed: TCP header length is under 20 bytes, or beyond the packet"},
	{v4(ProtoUDP, zeros(7)), from4 + "UDP       27 bytes  ttl 64, malformed: shorter than the 8 bytes of a UDP header"},
	{v4(ProtoUDP, with(udp(1, 2, nil), 4, 0, 7)), from4 + "UDP       28 bytes  ttl 64   port 1 > 2, malformed: UDP length is under 8 bytes, or beyond the packet"},
	{v6(ProtoUDP, with(udp(1, 2, nil), 4, 0, 9)), from6 + "UDP       48 bytes  ttl 64   port 1 > 2, malformed: UDP length is under 8 bytes, or beyond the packet"},
	{v4(ProtoICMP, zeros(3)), from4 + "ICMP      23 bytes  ttl 64, malformed: shorter than the 4 bytes of an ICMP header"},
	{v4(ProtoICMP, []byte{8, 0, 0, 0, 0, 0, 0}), from4 + "ICMP      27 bytes  ttl 64   echo request, malformed: shorter than an ICMP message of this type"},
	{v4(ProtoICMP, []byte{3, 4, 0, 0, 0, 0, 0}), from4 + "ICMP      27 bytes  ttl 64   packet too big type 3 code 4, malformed: shorter than an ICMP message of this type"},
	{v6(ProtoICMPv6, zeros(3)), from6 + "ICMPv6    43 bytes  ttl 64, malformed: shorter than the 4 bytes of an ICMP header"},
	{v6(ProtoICMPv6, []byte{129, 0, 0, 0}), from6 + "ICMPv6    44 bytes  ttl 64   echo reply, malformed: shorter than an ICMP message of this type"},
	{v6(ProtoICMPv6, []byte{2, 0, 0, 0}), from6 + "ICMPv6    44 bytes  ttl 64   packet too big, malformed: shorter than an ICMP message of this type"},
}

// chain makes n destination options headers, the last before UDP.
func chain(n int) []byte {
	var c []byte
	for range n - 1 {
		c = append(c, extension(DestinationOptions, 0)...)
	}
	return append(c, extension(ProtoUDP, 0)...)
}
