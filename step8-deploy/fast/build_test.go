package fast

import (
	"encoding/binary"
	"math/rand/v2"
)

// A spec says what packet to build. The zero value is a TCP segment over IPv4 with ACK set and
// no payload.
type spec struct {
	v6, udp   bool
	tos       byte
	id        uint16
	fragment  uint16 // IPv4's flags and offset
	ttl       byte
	host      byte // last byte of the destination
	options   []byte
	extension []byte // IPv6: one extension header, with the type 60 (destination options)

	srcPort    uint16
	seq, ack   uint32
	flags      byte // in addition to ACK
	reserved   byte // low bits of the data offset's byte
	window     uint16
	urgent     uint16
	tcpOptions []byte
	payload    []byte
}

func (s spec) packet() []byte {
	transport := s.transport()
	protocol := byte(6)
	if s.udp {
		protocol = 17
	}
	var p []byte
	var addresses []byte
	if s.v6 {
		p = make([]byte, 40)
		p[0] = 0x60 | s.tos>>4
		p[1] = s.tos<<4 | 1 // a flow label
		next := protocol
		if s.extension != nil {
			s.extension[0], next = protocol, 60
		}
		binary.BigEndian.PutUint16(p[4:], uint16(len(s.extension)+len(transport)))
		p[6], p[7] = next, s.ttl
		copy(p[8:], []byte{0xfd, 0, 0, 8, 15: 1})
		copy(p[24:], []byte{0xfd, 0, 0, 8, 15: 2 + s.host})
		addresses = p[8:40]
		p = append(p, s.extension...)
	} else {
		p = append(make([]byte, 20), s.options...)
		p[0] = 0x40 | byte(len(p)/4)
		p[1] = s.tos
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)+len(transport)))
		binary.BigEndian.PutUint16(p[4:], s.id)
		binary.BigEndian.PutUint16(p[6:], s.fragment)
		p[8], p[9] = s.ttl, protocol
		copy(p[12:], []byte{10, 8, 0, 1, 10, 8, 0, 2 + s.host})
		binary.BigEndian.PutUint16(p[10:], referenceChecksum(p))
		addresses = p[12:20]
	}
	field := 16
	if s.udp {
		field = 6
	}
	c := transportChecksum(addresses, protocol, transport)
	if s.udp && c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(transport[field:], c)
	return append(p, transport...)
}

// transport returns the TCP segment or UDP datagram, without checksum.
func (s spec) transport() []byte {
	if s.udp {
		u := make([]byte, 8)
		binary.BigEndian.PutUint16(u, 1000+s.srcPort)
		binary.BigEndian.PutUint16(u[2:], 2000)
		binary.BigEndian.PutUint16(u[4:], uint16(8+len(s.payload)))
		return append(u, s.payload...)
	}
	t := append(make([]byte, 20), s.tcpOptions...)
	binary.BigEndian.PutUint16(t, 1000+s.srcPort)
	binary.BigEndian.PutUint16(t[2:], 2000)
	binary.BigEndian.PutUint32(t[4:], s.seq)
	binary.BigEndian.PutUint32(t[8:], s.ack)
	t[12] = byte(len(t)/4)<<4 | s.reserved
	t[13] = s.flags | ack
	binary.BigEndian.PutUint16(t[14:], s.window)
	binary.BigEndian.PutUint16(t[18:], s.urgent)
	return append(t, s.payload...)
}

// transportChecksum returns the checksum of t, whose own checksum field is 0.
func transportChecksum(addresses []byte, protocol byte, t []byte) uint16 {
	b := append([]byte{}, addresses...)
	b = append(b, 0, protocol, byte(len(t)>>8), byte(len(t)))
	return referenceChecksum(append(b, t...))
}

// referenceChecksum is RFC 1071 in its simplest form.
func referenceChecksum(b []byte) uint16 {
	sum := uint32(0)
	for i, x := range b {
		if i%2 == 0 {
			sum += uint32(x) << 8
		} else {
			sum += uint32(x)
		}
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// timestamps are options that nearly every segment has.
var timestamps = []byte{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// stream returns n packets of one flow, of size payload bytes each, that belong
// together.
func stream(r *rand.Rand, s spec, n, size int) []spec {
	s.id, s.seq = uint16(r.Uint32()), r.Uint32()
	var list []spec
	for range n {
		s.payload = randomBytes(r, size)
		list = append(list, s)
		s.id++
		s.seq += uint32(size)
	}
	return list
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }
