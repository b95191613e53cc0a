package fast

import (
	"bytes"
	"encoding/binary"
)

// This file joins packets from the network into super-packets for the device: segment.go does
// the reverse.

// A segment is a packet that can be part of a super-packet.
type segment struct {
	p         []byte
	transport int // offset of the transport header
	headers   int // bytes before the payload
	udp       bool
}

// asSegment parses a packet from the network. It reports false for a packet that must pass
// unchanged. It accepts only TCP segments with the flag ACK, and no others except PSH or FIN,
// and UDP datagrams. They must have a payload, follow an IPv4 header without options or an
// IPv6 header directly, not be fragments, and have correct checksums: the super-packet gets
// new checksums, which would hide that an old one was wrong.
func asSegment(p []byte) (s segment, ok bool) {
	s.p = p
	if len(p) < ipv4Len {
		return s, false
	}
	var protocol byte
	switch p[0] >> 4 {
	case 4:
		const fragmented = 0xbfff // all bits except "don't fragment"
		if p[0] != 0x45 || int(binary.BigEndian.Uint16(p[2:])) != len(p) ||
			binary.BigEndian.Uint16(p[6:])&fragmented != 0 ||
			!intact(add(0, p[:ipv4Len]), p[10:]) {
			return s, false
		}
		s.transport, protocol = ipv4Len, p[9]
	case 6:
		if len(p) < ipv6Len || int(binary.BigEndian.Uint16(p[4:]))+ipv6Len != len(p) {
			return s, false
		}
		s.transport, protocol = ipv6Len, p[6]
	default:
		return s, false
	}
	return s, s.readTransport(protocol)
}

// readTransport reads what follows the IP header.
func (s *segment) readTransport(protocol byte) bool {
	t := s.p[s.transport:]
	switch {
	case protocol == 6 && len(t) > tcpLen:
		n := int(t[12]>>4) * 4
		if n < tcpLen || n >= len(t) || t[tcpFlags]&^(psh|fin) != ack && t[tcpFlags]&^(psh|fin) != ack|ece {
			return false
		}
		s.headers = s.transport + n
		return intact(add(s.pseudo(protocol), t), t[tcpChecksum:])
	case protocol == 17 && len(t) > udpLen:
		if int(binary.BigEndian.Uint16(t[4:])) != len(t) || t[udpChecksum] == 0 && t[udpChecksum+1] == 0 {
			return false
		}
		s.headers, s.udp = s.transport+udpLen, true
		return fold(add(s.pseudo(protocol), t)) == 0xffff
	}
	return false
}

// intact reports whether a sum over data and its checksum shows that the data are correct.
// There are two ways to write a checksum of 0. For the unusual one, intact reports false,
// because segmenting would not give it back.
func intact(sum uint64, field []byte) bool {
	return fold(sum) == 0xffff && (field[0] != 0xff || field[1] != 0xff)
}

// pseudo returns the sum of the pseudo-header (RFC 9293, section 3.1; RFC 8200,
// section 8.1).
func (s *segment) pseudo(protocol byte) uint64 {
	addresses := s.p[12:20]
	if s.transport == ipv6Len {
		addresses = s.p[8:40]
	}
	return addWord(add(0, addresses), uint64(protocol)+uint64(len(s.p)-s.transport))
}

func (s *segment) payload() []byte { return s.p[s.headers:] }

// A run is a number of segments that make one super-packet. The zero value is
// empty.
type run struct {
	first segment
	n     int
	size  int  // payload bytes of each segment but the last
	total int  // bytes of the super-packet
	ended bool // no segment may follow: the last one is shorter, or has PSH or FIN
	flags byte // PSH and FIN of the last one
}

// start makes s the first of a new run.
func (r *run) start(s segment) {
	*r = run{first: s, n: 1, size: len(s.payload()), total: len(s.p)}
	r.close(s)
}

// close records whether s must be the last segment.
func (r *run) close(s segment) {
	if !s.udp {
		r.flags = s.p[s.transport+tcpFlags] & (psh | fin)
	}
	r.ended = r.flags != 0 || len(s.payload()) < r.size
}

// coalesce appends s to the run, if segmenting the super-packet would give s back unchanged.
// It reports whether it has.
func (r *run) coalesce(s segment) bool {
	n := len(s.payload())
	if r.n == 0 || r.ended || n > r.size || r.total+n > maxSuper || !r.follows(s) {
		return false
	}
	r.n++
	r.total += n
	r.close(s)
	return true
}

// maxSuper is the length in bytes of the longest super-packet.
const maxSuper = 65535

// follows compares the headers of s with those of the first segment.
func (r *run) follows(s segment) bool {
	f := &r.first
	if s.transport != f.transport || s.headers != f.headers || s.udp != f.udp {
		return false
	}
	a, b := f.p, s.p
	if s.transport == ipv6Len {
		// All but the length.
		if !bytes.Equal(a[:4], b[:4]) || !bytes.Equal(a[6:40], b[6:40]) {
			return false
		}
	} else {
		// All but length, identification and checksum.
		id := binary.BigEndian.Uint16(a[4:]) + uint16(r.n)
		if a[1] != b[1] || id != binary.BigEndian.Uint16(b[4:]) ||
			!bytes.Equal(a[6:10], b[6:10]) || !bytes.Equal(a[12:20], b[12:20]) {
			return false
		}
	}
	a, b = a[s.transport:s.headers], b[s.transport:s.headers]
	if s.udp {
		return bytes.Equal(a[:4], b[:4]) // the ports
	}
	// All but sequence number, checksum, PSH and FIN.
	seq := binary.BigEndian.Uint32(a[4:]) + uint32(r.n*r.size)
	return bytes.Equal(a[:4], b[:4]) && seq == binary.BigEndian.Uint32(b[4:]) &&
		bytes.Equal(a[8:tcpFlags], b[8:tcpFlags]) &&
		(a[tcpFlags]^b[tcpFlags])&^(psh|fin) == 0 &&
		bytes.Equal(a[14:16], b[14:16]) && bytes.Equal(a[18:], b[18:])
}

// finish turns the headers of the first segment into those of the super-packet,
// and returns the header to put before it.
func (r *run) finish() vnetHeader {
	s := &r.first
	h := vnetHeader{
		flags:         needsChecksum,
		headerLen:     uint16(s.headers),
		gsoSize:       uint16(r.size),
		checksumStart: uint16(s.transport),
	}
	t := s.p[s.transport:]
	length := r.total - s.transport
	protocol := byte(6)
	switch {
	case s.udp:
		h.gsoType, h.checksumOffset, protocol = gsoUDP, udpChecksum, 17
		binary.BigEndian.PutUint16(t[4:], uint16(length))
	case s.transport == ipv6Len:
		h.gsoType, h.checksumOffset = gsoTCP6, tcpChecksum
		t[tcpFlags] |= r.flags
	default:
		h.gsoType, h.checksumOffset = gsoTCP4, tcpChecksum
		t[tcpFlags] |= r.flags
	}
	if s.transport == ipv6Len {
		binary.BigEndian.PutUint16(s.p[4:], uint16(r.total-ipv6Len))
	} else {
		binary.BigEndian.PutUint16(s.p[2:], uint16(r.total))
		binary.BigEndian.PutUint16(s.p[10:], 0)
		binary.BigEndian.PutUint16(s.p[10:], ^fold(add(0, s.p[:ipv4Len])))
	}
	sum := addWord(s.pseudo(protocol), uint64(length-(len(s.p)-s.transport)))
	binary.BigEndian.PutUint16(t[h.checksumOffset:], fold(sum))
	return h
}
