// Package packet reads IP packets: it checks that bytes are one whole packet,
// and says what is in it. It does its own parsing, straight from the RFCs,
// because parsing is what step 2 teaches.
//
// Introduced in step 2.
//
// Every byte comes from outside and is hostile until it is checked. A field is
// read only after the length has been checked against the bytes present, and every
// loop is bounded, so no input can make this package panic or hang. Nothing is kept
// between calls: all functions are safe for concurrent use.
package packet

import "net/netip"

// Sizes in bytes of the headers, without options. Code that wraps one packet in
// another calculates with these.
const (
	IPv4HeaderLen = 20 // RFC 791, section 3.1
	IPv6HeaderLen = 40 // RFC 8200, section 3
	UDPHeaderLen  = 8  // RFC 768
	TCPHeaderLen  = 20 // RFC 9293, section 3.1
)

// MinIPv6MTU is the size in bytes of a packet that every IPv6 link carries in one
// piece (RFC 8200, section 5).
const MinIPv6MTU = 1280

// Check returns nil if p is exactly one whole packet. That means: IPv4 with a
// header length of at least 20 bytes that lies within the packet and a total
// length of len(p), or IPv6 with a payload length of len(p)-40. Any other p gets
// a Malformed error.
//
// A tunnel calls it for every packet, so it is cheap and allocates nothing. It
// checks neither the header checksum nor the options nor the payload: the host
// that receives the packet does that (RFC 1122, section
// 3.2.1), and may know a protocol that we do not. IPv6 jumbograms (RFC 2675,
// payloads above 65,535 bytes) are not supported: their payload length says 0,
// so they are refused.
func Check(p []byte) error {
	var err error
	switch {
	case len(p) == 0:
		err = errEmpty
	case p[0]>>4 == 4:
		_, err = AsIPv4(p)
	case p[0]>>4 == 6:
		_, err = AsIPv6(p)
	default:
		err = errNoVersion
	}
	return err
}

// A Packet holds what Parse found in a packet.
type Packet struct {
	Len      int        // bytes, with all headers
	Version  int        // 4 or 6; 0 if Check refuses the packet
	Src, Dst netip.Addr // sender and receiver
	TTL      int        // hops left; IPv6 calls it the hop limit
	Protocol Protocol   // of the payload, after the extension headers: a number that has a name
	Fragment Fragment   // ID, offset, and whether more follow, if this is a piece of a larger packet

	// IPv4 only.
	Options     []Option // the types of its options, in their order, without padding
	BadChecksum bool     // the header checksum is wrong

	// IPv6 only.
	Extensions []Protocol // the extension headers, in their order

	// The header of the payload: at most one of these is set. There is none if
	// the protocol is not one of the three, and none in a later fragment: only
	// the first one has it.
	TCP  *TCP
	UDP  *UDP
	ICMP *ICMP // ICMP and ICMPv6
}

// Parse reads the headers of p. If something in them is impossible, it returns a
// Malformed error that says what, and a Packet with the fields read so far. It
// keeps no reference to p.
//
// A wrong IPv4 header checksum is not an error: it sets BadChecksum. The
// checksums of TCP, UDP and ICMP are not checked: a host leaves them to its
// network card when it can, so a packet captured on its way out may have no
// checksum yet, and rightly so.
func Parse(p []byte) (Packet, error) {
	k := Packet{Len: len(p)}
	if err := Check(p); err != nil {
		return k, err
	}
	k.Version = int(p[0] >> 4)
	var payload []byte
	var err error
	if k.Version == 4 {
		payload, err = k.readIPv4(IPv4{p})
	} else {
		payload, err = k.readIPv6(IPv6{p})
	}
	if err == nil {
		err = k.readPayload(payload)
	}
	return k, err
}
