// Package lan says which networks count as local, and so stay outside of the tunnel, even
// if the operator of the local network can't be trusted. Introduced in step 8.
//
// Up to step 7, everything with a route of its own counts as local. So anybody who hands
// out routes decides what goes outside of the tunnel: a DHCP server with 0.0.0.0/1 and
// 128.0.0.0/1 (option 121, RFC 3442; "TunnelVision", CVE-2024-3661), or a network
// that claims to have public addresses ("TunnelCrack LocalNet", CVE-2023-36672). Here,
// there are three policies to choose from. Local is
//
//	private    a network on the link (its route names no gateway) with private (RFC 1918),
//	           unique-local (RFC 4193) or link-local addresses; also packets to all hosts
//	           on the link, and those that look for services: 224.0.0.0/24,
//	           255.255.255.255 and ff02::/16, 239.255.255.250 and ff05::c (SSDP,
//	           WS-Discovery)
//	none       nothing
//	as routed  every network that has a route of its own
//
// A network wider than /8 is never local: no local network is that large. DHCP and IPv6
// neighbour discovery work with each of the three.
//
// The tunnel's own networks are never local, and neither are the networks that the operator
// routes into the tunnel. See Rules, and package killswitch, which uses them.
package lan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/hostnet"
)

// A Policy says what counts as local.
type Policy string

const (
	Private  Policy = "private"
	None     Policy = "none"
	AsRouted Policy = "as routed"
)

// Policies lists all policies.
var Policies = []string{string(Private), string(None), string(AsRouted)}

// Limits on how many networks are local, and on how many inside of these are not. Each costs
// a policy rule. Normally a host has one for each of its interfaces; but a router may
// advertise any number of routes.
const (
	maxLocal  = 64
	maxInside = 16 // in one of them
)

// A Claim is a network that has a route of its own, and so claims to be local.
type Claim struct {
	Network netip.Prefix
	Device  string
	Gateway netip.Addr // the zero Addr if the route says that it is on the link
	Why     string
}

// String returns "0.0.0.0/1 via 192.168.1.66 on eth0: it is not private".
func (c Claim) String() string {
	via := ""
	if c.Gateway.IsValid() {
		via = fmt.Sprintf(" via %v", c.Gateway)
	}
	return fmt.Sprintf("%v%s on %s: %s", c.Network, via, c.Device, c.Why)
}

// Networks are what this host's routes say about what is around it.
type Networks struct {
	Local  []Claim // without a Why
	Claims []Claim // networks that are not local, at most maxLocal of them
	Inside []Claim // networks that are not local, but lie inside of one that is: see Rules
}

// Look reads the host's routes, and returns which networks are local, and which only claim
// to be. It leaves out routes through the tunnel's own device, and what is always local (see
// Always).
func Look(p Policy, tunnel string) (n Networks, err error) {
	if p == None {
		return n, nil
	}
	var refused []Claim
	for _, f := range hostnet.Families {
		routes, err := hostnet.Routes(f, unix.RT_TABLE_MAIN)
		if err != nil {
			return n, err
		}
		for _, r := range routes {
			c := ClaimOf(r)
			if r.Type != unix.RTN_UNICAST || c.Device == tunnel || c.Device == "lo" || c.Network.Bits() == 0 {
				continue
			}
			c.Why = p.refuses(c)
			switch {
			case slices.ContainsFunc(n.Local, func(l Claim) bool { return l.Network == c.Network && l.Device == c.Device }):
			case c.Why == "" && len(n.Local) < maxLocal:
				n.Local = append(n.Local, c)
			default:
				c.Why = cmp.Or(c.Why, fmt.Sprintf("there are %d local networks already", maxLocal))
				refused = append(refused, c)
			}
		}
	}
	n.sort(refused)
	return n, nil
}

// sort distributes the refused networks to Claims and Inside. A local network with too many
// of them inside does not count as local either. All lists are sorted, so that two results
// of Look can be compared.
func (n *Networks) sort(refused []Claim) {
	inside := func(c Claim) func(Claim) bool {
		return func(l Claim) bool {
			return l.Network.Bits() <= c.Network.Bits() && l.Network.Contains(c.Network.Addr())
		}
	}
	n.Local = slices.DeleteFunc(n.Local, func(l Claim) bool {
		count := 0
		for _, c := range refused {
			if inside(c)(l) {
				count++
			}
		}
		if count > maxInside {
			l.Why = "too many other networks claim a part of it"
			refused = append(refused, l)
		}
		return count > maxInside
	})
	for _, c := range refused {
		if slices.ContainsFunc(n.Local, inside(c)) {
			n.Inside = append(n.Inside, c)
		} else if len(n.Claims) < maxLocal {
			n.Claims = append(n.Claims, c)
		}
	}
	for _, list := range [][]Claim{n.Local, n.Claims, n.Inside} {
		slices.SortFunc(list, func(a, b Claim) int {
			return cmp.Or(a.Network.Compare(b.Network), cmp.Compare(a.String(), b.String()))
		})
	}
}

// ClaimOf reads a route. The network of a default route has 0 bits.
func ClaimOf(r netlink.Route) (c Claim) {
	if r.Dst != nil {
		if a, ok := netip.AddrFromSlice(r.Dst.IP); ok {
			bits, _ := r.Dst.Mask.Size()
			c.Network = netip.PrefixFrom(a.Unmap(), bits)
		}
	}
	index := r.LinkIndex
	gateway, _ := netip.AddrFromSlice(r.Gw)
	if via, ok := r.Via.(*netlink.Via); ok {
		gateway, _ = netip.AddrFromSlice(via.Addr)
	}
	for _, path := range r.MultiPath {
		index = path.LinkIndex
		if a, ok := netip.AddrFromSlice(path.Gw); ok {
			gateway = a
		}
	}
	c.Gateway = gateway.Unmap()
	if link, err := netlink.LinkByIndex(index); err == nil {
		c.Device = link.Attrs().Name
	}
	return c
}

// refuses returns why a network is not local, or "" if it is.
func (p Policy) refuses(c Claim) string {
	switch {
	case p == AsRouted:
		return ""
	case !slices.ContainsFunc(private, func(n netip.Prefix) bool { return n.Bits() <= c.Network.Bits() && n.Contains(c.Network.Addr()) }):
		return "it is not private"
	case c.Network.Bits() < widest:
		return fmt.Sprintf("it is wider than /%d", widest)
	case c.Gateway.IsValid():
		return "it is behind a gateway, not on the link"
	}
	return ""
}

// widest is the prefix length of the largest network that is believed to be local.
const widest = 8

// private has the addresses that no host on the internet has: private and link-local ones.
var private = append(prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"), linkLocal...)

// linkLocal has the link-local addresses (RFC 3927; RFC 4291, section 2.5.6).
var linkLocal = prefixes("169.254.0.0/16", "fe80::/10")

func prefixes(list ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range list {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}
