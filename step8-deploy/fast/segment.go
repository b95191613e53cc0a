package fast

import (
	"encoding/binary"
	"errors"

	"stepvpn/step2-tun/packet"
)

// This file cuts a super-packet from the device into segments, packets that fit into the MTU.

// Lengths in bytes and offsets of headers: RFC 791, RFC 8200, RFC 9293, RFC 768.
const (
	ipv4Len = packet.IPv4HeaderLen
	ipv6Len = packet.IPv6HeaderLen
	tcpLen  = packet.TCPHeaderLen
	udpLen  = packet.UDPHeaderLen

	tcpFlags    = 13 // offsets from the start of the transport header
	tcpChecksum = 16
	udpChecksum = 6
)

// TCP flags (RFC 9293, section 3.1; RFC 3168, section 6.1).
const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
	urg
	ece
	cwr
)

// maxHeaders bounds the headers of a packet to be segmented, in bytes: IPv4 and TCP have at
// most 120, and IPv6 may also have extension headers.
const maxHeaders = 512

// errFrame says that the device has returned something other than it promises.
var errFrame = errors.New("not a packet that a device may give")

// A frame is what one read of the device returns: a whole packet that may lack its checksum,
// or one super-packet that stands for many segments.
type frame struct {
	p         []byte // the packet, headers included
	vnet      vnetHeader
	segments  int
	transport int // offset of the transport header
	headers   int // bytes before the payload
	udp       bool

	// pseudo is the sum of the transport's pseudo-header without its length.
	pseudo uint64
	// template has a copy of the super-packet's headers, as those in p are overwritten.
	template [maxHeaders]byte
}

// set makes f the frame of a packet and the header that came with it. It checks everything in
// both.
func (f *frame) set(h vnetHeader, p []byte) error {
	f.p, f.vnet, f.segments = p, h, 1
	if len(p) == 0 {
		return errFrame
	}
	field := int(h.checksumStart) + int(h.checksumOffset)
	if h.flags&needsChecksum != 0 && (h.checksumStart < ipv4Len || field+2 > len(p)) {
		return errFrame
	}
	if h.gsoType == gsoNone {
		return nil
	}
	return f.setSuper()
}

// setSuper reads the headers of a super-packet.
func (f *frame) setSuper() error {
	h, p := f.vnet, f.p
	f.transport = int(h.checksumStart)
	wantVersion, wantOffset := byte(4), uint16(tcpChecksum)
	f.udp = false
	switch h.gsoType &^ gsoECN {
	case gsoTCP4:
	case gsoTCP6:
		wantVersion = 6
	case gsoUDP:
		f.udp = true
		wantVersion, wantOffset = p[0]>>4, udpChecksum
	default:
		return errFrame
	}
	if p[0]>>4 != wantVersion || h.checksumOffset != wantOffset || h.flags&needsChecksum == 0 || h.gsoSize == 0 {
		return errFrame
	}
	switch wantVersion {
	case 4:
		if f.transport != int(p[0]&0x0f)*4 {
			return errFrame
		}
	case 6:
		if f.transport < ipv6Len {
			return errFrame
		}
	default:
		return errFrame
	}
	f.headers = f.transport + udpLen
	if !f.udp {
		if len(p) < f.transport+tcpLen {
			return errFrame
		}
		n := int(p[f.transport+12]>>4) * 4
		if n < tcpLen {
			return errFrame
		}
		f.headers = f.transport + n
	}
	payload := len(p) - f.headers
	if payload <= 0 || f.headers > maxHeaders {
		return errFrame
	}
	stride := int(h.gsoSize)
	f.segments = (payload + stride - 1) / stride
	copy(f.template[:], p[:f.headers])
	// The kernel has put the sum of the pseudo-header, with the length of the super-packet,
	// into the checksum's field. Don't compute the sum here: with a routing header, its
	// destination is not the one in the IPv6 header.
	field := binary.BigEndian.Uint16(p[f.transport+int(h.checksumOffset):])
	length := uint16(len(p) - f.transport)
	f.pseudo = uint64(field) + uint64(^length)
	return nil
}

// super reports whether the frame must be segmented.
func (f *frame) super() bool { return f.vnet.gsoType != gsoNone }

// single returns the packet of a frame that is not to be segmented.
func (f *frame) single() []byte {
	if f.vnet.flags&needsChecksum != 0 {
		complete(f.p, int(f.vnet.checksumStart), int(f.vnet.checksumOffset))
	}
	return f.p
}

// segment makes segment i of a super-packet and returns it. Segments must be asked for in
// order: the header of each is written over the end of the payload before it.
//
// A segment differs from the super-packet in the same way as the kernel's segments: in the
// lengths, the checksums, TCP's sequence number and IPv4's identification. Only the last
// segment has FIN and PSH, and only the first has CWR (RFC 3168, section 6.1.2).
func (f *frame) segment(i int) []byte {
	start := i * int(f.vnet.gsoSize)
	n := min(f.headers+int(f.vnet.gsoSize), len(f.p)-start)
	p := f.p[start : start+n : start+n]
	copy(p, f.template[:f.headers])

	t := p[f.transport:]
	field := tcpChecksum
	if f.udp {
		field = udpChecksum
		binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
	} else {
		seq := binary.BigEndian.Uint32(t[4:])
		binary.BigEndian.PutUint32(t[4:], seq+uint32(start))
		if i > 0 {
			t[tcpFlags] &^= cwr
		}
		if i < f.segments-1 {
			t[tcpFlags] &^= fin | psh
		}
	}
	setLength(p, f.transport, uint16(i))
	binary.BigEndian.PutUint16(t[field:], fold(f.pseudo+uint64(len(t))))
	complete(p, f.transport, field)
	return p
}

// setLength sets what the IP header says about the length of p, adds n to IPv4's
// identification, and completes IPv4's checksum.
func setLength(p []byte, header int, n uint16) {
	if p[0]>>4 == 6 {
		binary.BigEndian.PutUint16(p[4:], uint16(len(p)-ipv6Len))
		return
	}
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	binary.BigEndian.PutUint16(p[4:], binary.BigEndian.Uint16(p[4:])+n)
	binary.BigEndian.PutUint16(p[10:], 0)
	binary.BigEndian.PutUint16(p[10:], ^fold(add(0, p[:header])))
}

// complete computes the checksum of p from start on. Its field, at an offset from start, holds
// the sum of the pseudo-header.
func complete(p []byte, start, field int) {
	c := ^fold(add(0, p[start:]))
	if c == 0 && field == udpChecksum {
		c = 0xffff // in UDP, 0 means that there is no checksum
	}
	binary.BigEndian.PutUint16(p[start+field:], c)
}
