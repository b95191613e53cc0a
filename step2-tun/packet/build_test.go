package packet

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// The packets of these tests are put together byte by byte, and go from .1 to
// .2 with 64 hops left.
var (
	src4 = netip.MustParseAddr("10.8.0.1")
	dst4 = netip.MustParseAddr("10.8.0.2")
	src6 = netip.MustParseAddr("fd00:8::1")
	dst6 = netip.MustParseAddr("fd00:8::2")
)

func cat(parts ...[]byte) []byte { return slices.Concat(parts...) }

// zeros is n bytes of data.
func zeros(n int) []byte { return make([]byte, n) }

// v4 makes an IPv4 packet; options must fill whole groups of four bytes.
func v4(protocol Protocol, payload []byte, options ...byte) []byte {
	return v4Fragment(protocol, Fragment{}, payload, options...)
}

func v4Fragment(protocol Protocol, f Fragment, payload []byte, options ...byte) []byte {
	header := IPv4HeaderLen + len(options)
	p := cat(zeros(IPv4HeaderLen), options, payload)
	p[0] = 4<<4 | byte(header/4)
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	binary.BigEndian.PutUint16(p[4:], uint16(f.ID))
	binary.BigEndian.PutUint16(p[6:], uint16(f.Offset/8))
	if f.More {
		p[6] |= 0x20
	}
	p[8] = 64
	p[9] = byte(protocol)
	copy(p[12:], src4.AsSlice())
	copy(p[16:], dst4.AsSlice())
	binary.BigEndian.PutUint16(p[10:], wordByWord(p[:header])) // not Checksum, which is under test
	return p
}

// flags returns a copy of an IPv4 packet with other bits in the upper half of byte 6, and
// with the checksum for them.
func flags(p []byte, bits byte) []byte {
	p = with(p, 6, p[6]&0x1f|bits)
	binary.BigEndian.PutUint16(p[10:], 0)
	binary.BigEndian.PutUint16(p[10:], wordByWord(p[:p[0]&0x0f*4]))
	return p
}

// v6 makes an IPv6 packet. What follows the fixed header is in parts.
func v6(next Protocol, parts ...[]byte) []byte {
	p := cat(zeros(IPv6HeaderLen), cat(parts...))
	p[0] = 6 << 4
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)-IPv6HeaderLen))
	p[6] = byte(next)
	p[7] = 64
	copy(p[8:], src6.AsSlice())
	copy(p[24:], dst6.AsSlice())
	return p
}

// extension makes an IPv6 extension header of 8 bytes and more groups of 8.
func extension(next Protocol, more byte) []byte {
	return cat([]byte{byte(next), more, 1, 4}, zeros(4+8*int(more))) // PadN, as far as it goes
}

func fragmentHeader(next Protocol, f Fragment) []byte {
	h := zeros(8)
	h[0] = byte(next)
	binary.BigEndian.PutUint16(h[2:], uint16(f.Offset))
	if f.More {
		h[3] |= 1
	}
	binary.BigEndian.PutUint32(h[4:], f.ID)
	return h
}

// authentication makes an AH with a check value of 12 bytes (RFC 4302).
func authentication(next Protocol) []byte { return cat([]byte{byte(next), 4}, zeros(22)) }

func udp(src, dst uint16, data []byte) []byte {
	h := zeros(UDPHeaderLen)
	binary.BigEndian.PutUint16(h[0:], src)
	binary.BigEndian.PutUint16(h[2:], dst)
	binary.BigEndian.PutUint16(h[4:], uint16(UDPHeaderLen+len(data)))
	return cat(h, data)
}

func tcp(src, dst uint16, flags TCPFlags, data []byte) []byte {
	h := zeros(TCPHeaderLen)
	binary.BigEndian.PutUint16(h[0:], src)
	binary.BigEndian.PutUint16(h[2:], dst)
	h[12] = TCPHeaderLen / 4 << 4
	h[13] = byte(flags)
	return cat(h, data)
}

// icmp makes a message of ICMP or ICMPv6; rest is bytes 4 to 7.
func icmp(kind, code uint8, rest uint32, data []byte) []byte {
	h := zeros(8)
	h[0], h[1] = kind, code
	binary.BigEndian.PutUint32(h[4:], rest)
	return cat(h, data)
}

// with returns a copy of p with other bytes from offset i on.
func with(p []byte, i int, bytes ...byte) []byte {
	p = slices.Clone(p)
	copy(p[i:], bytes)
	return p
}
