package pool

import (
	"fmt"
	"net/netip"

	"stepvpn/shared/app"
	"stepvpn/step5-nat/hostnet"
)

// A subnet holds the addresses of the tunnel that clients can have: all from first to last,
// but the server's. Addresses are only ever counted through as far as they are leased, so a
// subnet may be as large as those of IPv6 are.
type subnet struct {
	prefix      netip.Prefix
	server      netip.Addr
	first, last netip.Addr
}

// newSubnet returns the subnet of a server's address.
//
// In IPv4 the first address of a subnet is that of the network and the last one
// is for broadcasts (RFC 1122, section 3.2.1.3), except with two addresses (RFC
// 3021). In IPv6 the first one belongs to all routers of the subnet (RFC 4291,
// section 2.6.1), except with two addresses (RFC 6164).
func newSubnet(server netip.Prefix) (subnet, error) {
	addr := server.Addr()
	if !server.IsValid() || addr.Is4In6() {
		return subnet{}, fmt.Errorf("%v is not an address with a subnet, such as 10.8.0.1/24", server)
	}
	s := subnet{prefix: server.Masked(), server: addr}
	s.first, s.last = s.prefix.Addr(), hostnet.LastAddr(s.prefix)
	if !addr.IsGlobalUnicast() || !s.last.IsGlobalUnicast() {
		return subnet{}, app.Hint(fmt.Errorf("%v is not a subnet for hosts", server),
			"Use one for private networks, such as 10.8.0.1/24 or fd00:8::1/64.")
	}
	hostBits := addr.BitLen() - server.Bits()
	if hostBits == 0 {
		return subnet{}, app.Hint(fmt.Errorf("%v has no address for a client", server),
			"Use a larger subnet: 10.8.0.1/24 has 253 for clients.")
	}
	if hostBits > 1 {
		s.first = s.first.Next()
		if addr.Is4() {
			s.last = s.last.Prev()
		}
	}
	if addr.Less(s.first) || s.last.Less(addr) {
		return subnet{}, app.Hint(fmt.Errorf("%v is not the address of a host: it stands for the subnet", server),
			"Give the server an address in it, such as %v/%d.", s.first, server.Bits())
	}
	return s, nil
}

// has reports whether a client can have addr.
func (s subnet) has(addr netip.Addr) bool {
	return s.prefix.Contains(addr) && !addr.Less(s.first) && !s.last.Less(addr) && addr != s.server
}
