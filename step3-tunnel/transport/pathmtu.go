package transport

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// This file asks the kernel for the MTU of the path: a client's to the server; a server's to a
// far-away address. No packet is sent.

// pathMTU begins the sum of a client's MTU: it returns the largest packet that the path to
// the server carries, less its IP header. It asks the kernel with a socket that o.dial
// makes: while another tunnel of the same client is up, the path of a socket without the
// mark that o.Control sets may lead into that tunnel.
func pathMTU(server netip.AddrPort, o Options) MTU {
	size, ok := routeMTU(func(to netip.AddrPort) (net.Conn, error) { return o.dial(context.Background(), UDP, to) }, server)
	why := fmt.Sprintf("path to %v", server.Addr())
	if !ok {
		size, why = ethernetMTU, "Ethernet, as there is no route yet"
	}
	return outerMTU(size, why, server.Addr().Is6())
}

// ethernetMTU, in bytes, is assumed where the kernel knows of no route yet.
const ethernetMTU = 1500

// listenMTU starts the sum for a server, which does not know yet where its clients
// are: with the path to a far-away address, and with an IPv6 header unless the
// address that it listens on rules that out.
func listenMTU(local netip.AddrPort) MTU {
	// Addresses for documentation (RFC 5737, RFC 3849): they lie behind the
	// default route.
	far4, far6 := netip.MustParseAddrPort("192.0.2.1:9"), netip.MustParseAddrPort("[2001:db8::1]:9")
	var d net.Dialer
	if !local.Addr().IsUnspecified() {
		d.LocalAddr = &net.UDPAddr{IP: local.Addr().AsSlice()}
	}
	from := func(to netip.AddrPort) (net.Conn, error) { return d.Dial(UDP, to.String()) }
	size, ok, ipv6 := ethernetMTU, false, !local.Addr().Is4()
	if ipv6 {
		size, ok = routeMTU(from, far6)
	}
	if !ok {
		size, ok = routeMTU(from, far4)
	}
	why := "path to the internet"
	if !ok {
		size, why = ethernetMTU, "Ethernet, as there is no default route"
	}
	return outerMTU(size, why, ipv6)
}

// routeMTU asks the kernel for the MTU of the path to an address: the interface's
// MTU, or less if a router has said so (RFC 1191, RFC 8201). It does so by connecting
// a UDP socket, which sends no packet.
func routeMTU(dial func(netip.AddrPort) (net.Conn, error), to netip.AddrPort) (int, bool) {
	conn, err := dial(to)
	if err != nil {
		return 0, false
	}
	defer conn.Close()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0, false
	}
	level, option := unix.IPPROTO_IP, unix.IP_MTU
	if to.Addr().Is6() {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_MTU
	}
	size := 0
	raw.Control(func(fd uintptr) { size, err = unix.GetsockoptInt(int(fd), level, option) })
	return size, err == nil && size > 0
}
