package fast

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file reads and writes the control messages (cmsg(3)) of the UDP socket: segment size
// (GRO, GSO), traffic class, and the host's own address.

// received is what the control messages of a datagram say.
type received struct {
	stride int        // bytes of each packet, or 0 for a single one
	class  byte       // traffic class
	local  netip.Addr // the address that it was sent to, if the socket was set to report that
}

// readControl reads control messages. It skips messages that it does not know.
func readControl(control []byte) (r received) {
	for len(control) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			break
		}
		control = rest
		switch {
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			r.stride = int(*(*int32)(unsafe.Pointer(&data[0])))
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS && len(data) >= 1:
			r.class = data[0]
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS && len(data) >= 4:
			r.class = byte(*(*int32)(unsafe.Pointer(&data[0])))
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			r.local = netip.AddrFrom4((*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0])).Spec_dst)
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			r.local = netip.AddrFrom16((*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0])).Addr).Unmap()
		}
	}
	return r
}

// A controlBuffer builds the control messages of one datagram. It is an array of words,
// because the messages must be aligned.
type controlBuffer struct {
	words [16]uint64
	used  int
}

// add appends a message with room for n bytes, and returns where they are.
func (c *controlBuffer) add(level, typ int32, n int) unsafe.Pointer {
	h := (*unix.Cmsghdr)(unsafe.Add(unsafe.Pointer(&c.words), c.used))
	h.Level, h.Type = level, typ
	h.SetLen(unix.CmsgLen(n))
	c.used += unix.CmsgSpace(n)
	return unsafe.Add(unsafe.Pointer(h), unix.CmsgLen(0))
}

// segment makes the kernel segment the data into packets of size bytes (UDP GSO).
func (c *controlBuffer) segment(size int) {
	*(*uint16)(c.add(unix.IPPROTO_UDP, unix.UDP_SEGMENT, 2)) = uint16(size)
}

// class sets the traffic class. v6 says whether the datagram goes over IPv6.
func (c *controlBuffer) class(class byte, v6 bool) {
	level, typ := int32(unix.IPPROTO_IP), int32(unix.IP_TOS)
	if v6 {
		level, typ = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
	}
	*(*int32)(c.add(level, typ, 4)) = int32(class)
}

// from sets the source address. v6 says whether it is an IPv6 socket.
func (c *controlBuffer) from(local netip.Addr, v6 bool) {
	if v6 {
		*(*unix.Inet6Pktinfo)(c.add(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)) =
			unix.Inet6Pktinfo{Addr: local.As16()} // IPv4 in its mapped form
		return
	}
	*(*unix.Inet4Pktinfo)(c.add(unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)) =
		unix.Inet4Pktinfo{Spec_dst: local.As4()}
}

// put makes the messages part of a datagram.
func (c *controlBuffer) put(m *unix.Msghdr) {
	m.Control = nil
	if c.used > 0 {
		m.Control = (*byte)(unsafe.Pointer(&c.words))
	}
	m.SetControllen(c.used)
}
