package packet

import (
	"encoding/binary"
	"net/netip"
)

// An IPv4 is a view of one whole IPv4 packet (RFC 791, section 3.1). It copies
// nothing. Only AsIPv4 makes one, after its checks, so every field that the
// methods read is there.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-------+-------+---------------+-------------------------------+
//	|Version|  IHL  |Type of service|          Total length         |  0
//	+-------+-------+---------------+-----+-------------------------+
//	|         Identification        |Flags|     Fragment offset     |  4
//	+---------------+---------------+-----+-------------------------+
//	|  Time to live |    Protocol   |        Header checksum        |  8
//	+---------------+---------------+-------------------------------+
//	|                        Source address                         | 12
//	+---------------------------------------------------------------+
//	|                      Destination address                      | 16
//	+---------------------------------------------------------------+
//	|                Options, up to the header's length             | 20
//	+---------------------------------------------------------------+
type IPv4 struct{ p []byte }

// AsIPv4 returns a view of p, whose first nibble is 4, or the reason why it is
// not one whole IPv4 packet.
func AsIPv4(p []byte) (IPv4, error) {
	if len(p) < IPv4HeaderLen {
		return IPv4{}, ErrShortIPv4
	}
	h := IPv4{p}
	if n := h.HeaderLen(); n < IPv4HeaderLen || n > len(p) {
		return IPv4{}, ErrHeaderLength
	}
	if int(binary.BigEndian.Uint16(p[2:])) != len(p) {
		return IPv4{}, ErrLength
	}
	return h, nil
}

// HeaderLen returns the header's length in bytes, options included. On the wire
// it is a nibble that counts units of four bytes (IHL).
func (h IPv4) HeaderLen() int { return int(h.p[0]&0x0f) * 4 }

// TTL returns the number of hops that are left.
func (h IPv4) TTL() int { return int(h.p[8]) }

// Protocol says what the payload is.
func (h IPv4) Protocol() Protocol { return Protocol(h.p[9]) }

// Src returns the address of the sender.
func (h IPv4) Src() netip.Addr { return netip.AddrFrom4([4]byte(h.p[12:16])) }

// Dst returns the address of the receiver.
func (h IPv4) Dst() netip.Addr { return netip.AddrFrom4([4]byte(h.p[16:20])) }

// Options returns the bytes between the fixed header and the payload.
func (h IPv4) Options() []byte { return h.p[IPv4HeaderLen:h.HeaderLen()] }

// Payload returns what follows the header.
func (h IPv4) Payload() []byte { return h.p[h.HeaderLen():] }
