package packet

import (
	"encoding/binary"
	"net/netip"
)

// An IPv6 is a view of one whole IPv6 packet (RFC 8200, section 3). It copies
// nothing. Make it with AsIPv6: the methods rely on the checks that it makes.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1  byte
//	+-------+---------------+---------------------------------------+
//	|Version| Traffic class |              Flow label               |  0
//	+-------+---------------+-------+---------------+---------------+
//	|        Payload length         |  Next header  |   Hop limit   |  4
//	+-------------------------------+---------------+---------------+
//	|                   Source address (16 bytes)                   |  8
//	+---------------------------------------------------------------+
//	|                 Destination address (16 bytes)                |  24
//	+---------------------------------------------------------------+
//	|          Extension headers, if any, and the payload           |  40
//	+---------------------------------------------------------------+
type IPv6 struct{ p []byte }

// AsIPv6 returns a view of p, or the reason why p is not one whole IPv6 packet.
func AsIPv6(p []byte) (IPv6, error) {
	h := IPv6{p}
	if len(p) < IPv6HeaderLen {
		return h, errShortIPv6
	}
	if p[0]>>4 != 6 {
		return h, errVersion
	}
	if IPv6HeaderLen+int(binary.BigEndian.Uint16(p[4:])) != len(p) {
		return h, errLength
	}
	return h, nil
}

// NextHeader says what follows the fixed header: an extension header, or the
// payload's protocol.
func (h IPv6) NextHeader() Protocol { return Protocol(h.p[6]) }

// HopLimit returns the number of hops that are left.
func (h IPv6) HopLimit() int { return int(h.p[7]) }

// Src returns the address of the sender.
func (h IPv6) Src() netip.Addr { return netip.AddrFrom16([16]byte(h.p[8:24])) }

// Dst returns the address of the receiver.
func (h IPv6) Dst() netip.Addr { return netip.AddrFrom16([16]byte(h.p[24:40])) }

// Payload returns what follows the fixed header.
func (h IPv6) Payload() []byte { return h.p[IPv6HeaderLen:] }

// readIPv6 fills in what the header says, follows the extension headers, and
// returns what follows them.
func (k *Packet) readIPv6(h IPv6) ([]byte, error) {
	k.Src, k.Dst = h.Src(), h.Dst()
	k.TTL = h.HopLimit()
	return k.readExtensions(h.NextHeader(), h.Payload())
}
