package hostnet

import (
	"fmt"
	"net"
	"net/netip"

	"stepvpn/shared/app"
)

// Free returns an error if one of the tunnel's subnets overlaps another, or the
// network of an interface other than the tunnel's own device: the host could no
// longer tell which hosts are behind which interface.
func Free(addrs []netip.Prefix, device string) error {
	if err := Disjoint(addrs); err != nil {
		return err
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, itf := range interfaces {
		if itf.Name == device {
			continue
		}
		taken, err := networks(itf)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			for _, b := range taken {
				if a.Overlaps(b) {
					return app.Hint(fmt.Errorf("the tunnel's subnet %v overlaps %v of %s", a.Masked(), b, itf.Name),
						"Choose another subnet with -addr, the same at both ends.")
				}
			}
		}
	}
	return nil
}

// Disjoint returns an error if one of the tunnel's subnets overlaps another. Step 8's
// client asks only that: its local network comes and goes.
func Disjoint(addrs []netip.Prefix) error {
	for i, a := range addrs {
		for _, b := range addrs[:i] {
			if a.Overlaps(b) {
				return app.Hint(fmt.Errorf("the tunnel's subnets %v and %v overlap", b, a),
					"Give each subnet once: one for IPv4 and one for IPv6 are enough.")
			}
		}
	}
	return nil
}

// networks returns the addresses of an interface, each with the length of its prefix.
// IPv6 link-local addresses are left out: all interfaces share their prefix (RFC 4291,
// section 2.5.6).
func networks(itf net.Interface) ([]netip.Prefix, error) {
	addrs, err := itf.Addrs()
	if err != nil {
		return nil, fmt.Errorf("addresses of %s: %w", itf.Name, err)
	}
	var list []netip.Prefix
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && !(p.Addr().Is6() && p.Addr().IsLinkLocalUnicast()) {
			list = append(list, p)
		}
	}
	return list, nil
}

// LastAddr returns the last address of a subnet: the one with all host bits set. Step 7
// gives clients addresses, and needs it.
func LastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < 8*len(b); bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}
