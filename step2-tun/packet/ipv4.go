package packet

import (
	"encoding/binary"
	"net/netip"
)

// An IPv4 is a view of one whole IPv4 packet (RFC 791, section 3.1). It copies
// nothing. Make it with AsIPv4: the methods rely on the checks that it makes.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1  byte
//	+-------+-------+---------------+-------------------------------+
//	|Version|  IHL  |Type of service|          Total length         |  0
//	+-------+-------+---------------+-----+-------------------------+
//	|         Identification        |Flags|     Fragment offset     |  4
//	+---------------+---------------+-----+-------------------------+
//	|  Time to live |    Protocol   |        Header checksum        |  8
//	+---------------+---------------+-------------------------------+
//	|                        Source address                         |  12
//	+---------------------------------------------------------------+
//	|                      Destination address                      |  16
//	+---------------------------------------------------------------+
//	|           Options, up to the length that IHL gives            |  20
//	+---------------------------------------------------------------+
type IPv4 struct{ p []byte }

// AsIPv4 returns a view of p, or the reason why p is not one whole IPv4 packet: the
// first that holds of errShortIPv4 (p has no room for a header without options),
// errVersion, errHeaderLength (under 20 bytes, or more than p has) and errLength (the
// total length is not that of p).
//
//exercise:2
func AsIPv4(p []byte) (IPv4, error) {
	h := IPv4{p}
	if len(p) < IPv4HeaderLen {
		return h, errShortIPv4
	}
	if p[0]>>4 != 4 {
		return h, errVersion
	}
	if n := h.HeaderLen(); n < IPv4HeaderLen || n > len(p) {
		return h, errHeaderLength
	}
	if int(binary.BigEndian.Uint16(p[2:])) != len(p) {
		return h, errLength
	}
	return h, nil
}

// HeaderLen returns the header's length in bytes, with options. On the wire it
// counts units of four bytes (IHL, the internet header length).
//
//exercise:2
func (h IPv4) HeaderLen() int { return int(h.p[0]&0x0f) * 4 }

// Fragment tells which part of a larger packet this is. Of the three flags, only the
// lowest matters: it says that there are more pieces. On the wire the offset counts units
// of 8 bytes.
//
//exercise:2
func (h IPv4) Fragment() Fragment {
	word := binary.BigEndian.Uint16(h.p[6:])
	return Fragment{
		ID:     uint32(binary.BigEndian.Uint16(h.p[4:])),
		Offset: int(word&0x1fff) * 8,
		More:   word&0x2000 != 0,
	}
}

// TTL returns the number of hops that are left.
func (h IPv4) TTL() int { return int(h.p[8]) }

// Protocol says what the payload is.
func (h IPv4) Protocol() Protocol { return Protocol(h.p[9]) }

// ChecksumOK reports whether the header matches its checksum.
func (h IPv4) ChecksumOK() bool { return Checksum(h.p[:h.HeaderLen()]) == 0 }

// Src returns the address of the sender.
func (h IPv4) Src() netip.Addr { return netip.AddrFrom4([4]byte(h.p[12:16])) }

// Dst returns the address of the receiver.
func (h IPv4) Dst() netip.Addr { return netip.AddrFrom4([4]byte(h.p[16:20])) }

// Options returns the bytes between the fixed header and the payload.
func (h IPv4) Options() []byte { return h.p[IPv4HeaderLen:h.HeaderLen()] }

// Payload returns what follows the header.
//
//exercise:2
func (h IPv4) Payload() []byte { return h.p[h.HeaderLen():] }

// readIPv4 fills in what the header says, and returns the payload.
func (k *Packet) readIPv4(h IPv4) ([]byte, error) {
	k.Src, k.Dst = h.Src(), h.Dst()
	k.TTL = h.TTL()
	k.Protocol = h.Protocol()
	k.BadChecksum = !h.ChecksumOK()
	if f := h.Fragment(); f.IsSet() {
		k.Fragment = f
	}
	var err error
	if k.Options, err = readOptions(h.Options()); err != nil {
		return nil, err
	}
	return h.Payload(), k.Fragment.check(IPv4HeaderLen, len(h.Payload()))
}
