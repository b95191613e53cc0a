package transport

import (
	"fmt"

	"stepvpn/step2-tun/packet"
)

// An MTU is the size in bytes of the largest packet that fits, with the sum
// that led to it. The arithmetic is in this file; pathmtu.go has what the path carries, with
// which the sum begins.
type MTU struct {
	Size int
	sum  string
}

// tcpTimestamps is the size in bytes of the option that practically every TCP segment
// carries (RFC 7323), padded.
const tcpTimestamps = 12

// outerMTU starts the sum with the size in bytes of the packets that the path carries, and
// why it is that, and subtracts the IP header of the outer packet: IPv4's, or IPv6's.
//
//exercise:1
func outerMTU(size int, why string, ipv6 bool) MTU {
	m := MTU{size, fmt.Sprintf("%d (%s)", size, why)}
	if ipv6 {
		return m.Less(packet.IPv6HeaderLen, "IPv6")
	}
	return m.Less(packet.IPv4HeaderLen, "IPv4")
}

// Less returns the MTU that is left if n more bytes are added to each packet; what
// names them in the sum.
//
//exercise:1
func (m MTU) Less(n int, what string) MTU {
	return MTU{m.Size - n, fmt.Sprintf("%s - %d (%s)", m.sum, n, what)}
}

// Or returns n, and "as set" for its sum, or m if n is 0.
//
//exercise:1
func (m MTU) Or(n int) MTU {
	if n == 0 {
		return m
	}
	return MTU{n, "as set"}
}

// String shows the sum: "1472 = 1500 (path to 203.0.113.10) - 20 (IPv4) - 8 (UDP)".
func (m MTU) String() string { return fmt.Sprintf("%d = %s", m.Size, m.sum) }

// lessUDP subtracts the header of the datagram, as "UDP".
//
//exercise:1
func (m MTU) lessUDP() MTU { return m.Less(packet.UDPHeaderLen, "UDP") }

// lessTCP subtracts the header of the segment with the option that it carries, as "TCP",
// and the length in front of the packet, as "length". So each packet fits in a segment of
// its own; TCP would also carry larger packets, in two segments.
//
//exercise:1
func (m MTU) lessTCP() MTU {
	return m.Less(packet.TCPHeaderLen+tcpTimestamps, "TCP").Less(lengthSize, "length")
}
