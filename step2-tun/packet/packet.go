// Package packet reads IP packets: it checks that bytes are one whole packet,
// and tells what is in it. It has its own parsing, straight from the RFCs,
// because that is what step 2 teaches.
//
// Introduced in step 2.
//
// Every byte comes from outside and is hostile until it is checked. A header is
// read only after its length was compared with what is there, so no input can
// make this package panic or loop. Nothing is kept between calls: all functions
// are safe for concurrent use.
package packet

import (
	"errors"
	"net/netip"
)

// Sizes in bytes of the headers, without options. What wraps a packet into
// another one counts with these.
const (
	IPv4HeaderLen = 20 // RFC 791, section 3.1
	IPv6HeaderLen = 40 // RFC 8200, section 3
	UDPHeaderLen  = 8  // RFC 768
	TCPHeaderLen  = 20 // RFC 9293, section 3.1
)

// Why Check refuses a packet.
var (
	ErrEmpty        = errors.New("empty")
	ErrVersion      = errors.New("version is neither 4 nor 6")
	ErrShortIPv4    = errors.New("shorter than the 20 bytes of an IPv4 header")
	ErrShortIPv6    = errors.New("shorter than the 40 bytes of an IPv6 header")
	ErrHeaderLength = errors.New("IPv4 header length is under 20 bytes, or beyond the packet")
	ErrLength       = errors.New("length field is not the number of bytes that arrived")
)

// Check returns nil if p is exactly one whole packet: IPv4 with a header length
// of at least 20 bytes that lies within the packet and a total length of
// len(p), or IPv6 with a payload length of len(p)-40. Otherwise it returns one
// of the errors above.
//
// It is what a tunnel asks of every packet, so it is cheap and allocates
// nothing. It does not look at the header checksum, at options or at the
// payload: the host that receives the packet does, and may well know a protocol
// that we do not. IPv6 jumbograms (RFC 2675, longer than 65,575 bytes) are not
// supported: their payload length is 0, which fails the check.
func Check(p []byte) error {
	if len(p) == 0 {
		return ErrEmpty
	}
	var err error
	switch p[0] >> 4 {
	case 4:
		_, err = AsIPv4(p)
	case 6:
		_, err = AsIPv6(p)
	default:
		err = ErrVersion
	}
	return err
}

// A Packet is what Parse finds out.
type Packet struct {
	Version  int        // 4 or 6
	Src, Dst netip.Addr //
	Protocol Protocol   // of the payload, behind all extension headers
	Len      int        // bytes, headers included
	TTL      int        // hops left; IPv6 calls it the hop limit
	Fragment Fragment   // set if the packet is a piece of a larger one

	Options     []byte     // IPv4: the options, which lie in the bytes given to Parse
	BadChecksum bool       // IPv4: the header checksum is wrong
	Extensions  []Protocol // IPv6: the extension headers, in their order

	// At most one of these is set: the payload's header, if Protocol is one
	// that we read, and if it is here. Of a fragmented packet only the first
	// fragment has it.
	TCP  *TCP
	UDP  *UDP
	ICMP *ICMP
}

// A Fragment tells which part of a larger packet this one carries. The zero
// value is a packet that is not fragmented.
type Fragment struct {
	ID     uint32 // the same in all pieces of one packet
	Offset int    // bytes of the larger packet's payload before this piece
	More   bool   // this is not the last piece
}

// IsSet reports whether the packet is a piece.
func (f Fragment) IsSet() bool { return f.Offset > 0 || f.More }
