package transport

import (
	"fmt"
	"net"
	"net/netip"

	"stepvpn/shared/app"
)

// resolve turns "host:port" into one address, the first that the resolver returns: the
// resolver sorts them by how well this host can reach them (RFC 6724).
func resolve(addr string) (netip.AddrPort, error) {
	if _, port, err := net.SplitHostPort(addr); err != nil || port == "" || port == "0" {
		return netip.AddrPort{}, app.Usage("server %q is not HOST:PORT, such as 203.0.113.10:5555 or [2001:db8:5::10]:5555", addr)
	}
	a, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("server %q: %w", addr, err)
	}
	if a.IP == nil {
		return netip.AddrPort{}, app.Usage("server %q has a port, but no host", addr)
	}
	return unmap(a.AddrPort()), nil
}

// unmap gives an IPv4 address that came through an IPv6 socket (RFC 4291,
// section 2.5.5.2) its usual form.
func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
