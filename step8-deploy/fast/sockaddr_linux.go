package fast

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A sockaddr is an address in the kernel's format: a RawSockaddrInet6, or the shorter
// RawSockaddrInet4.
type sockaddr unix.RawSockaddrInet6

// set sets the address, for a socket of one of the two kinds, and returns its length.
func (a *sockaddr) set(to netip.AddrPort, v6 bool) uint32 {
	if v6 {
		*a = sockaddr{
			Family:   unix.AF_INET6,
			Port:     networkOrder(to.Port()),
			Addr:     to.Addr().As16(), // IPv4 in its mapped form
			Scope_id: zoneIndex(to.Addr().Zone()),
		}
		return unix.SizeofSockaddrInet6
	}
	*(*unix.RawSockaddrInet4)(unsafe.Pointer(a)) = unix.RawSockaddrInet4{
		Family: unix.AF_INET,
		Port:   networkOrder(to.Port()),
		Addr:   to.Addr().As4(),
	}
	return unix.SizeofSockaddrInet4
}

// addrPort returns the address, with an IPv4 address in its usual form.
func (a *sockaddr) addrPort() netip.AddrPort {
	port := networkOrder(a.Port)
	if a.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(a)).Addr), port)
	}
	ip := netip.AddrFrom16(a.Addr).Unmap()
	if a.Scope_id != 0 {
		ip = ip.WithZone(strconv.FormatUint(uint64(a.Scope_id), 10))
	}
	return netip.AddrPortFrom(ip, port)
}

// networkOrder converts a port from this machine's byte order to the network's, or back.
func networkOrder(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}

// zoneIndex returns the number of the interface that a link-local address is
// behind, or 0. A zone is a number, or the interface's name.
func zoneIndex(zone string) uint32 {
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	return 0
}
