// Package lan says which networks of this host stay outside of the tunnel: the local
// network, and what that means when whoever runs it is not to be trusted.
// Introduced in step 8.
//
// Up to step 7 everything with a route of its own counts as local. So whoever hands
// out routes decides what goes outside of the tunnel: a DHCP server with 0.0.0.0/1 and
// 128.0.0.0/1 (option 121, RFC 3442; "TunnelVision", CVE-2024-3661), or a network
// that claims to have public addresses ("TunnelCrack LocalNet", CVE-2023-36672). Here
// the word has three meanings to choose from:
//
//	private    what is on the link (no gateway is named) and has private (RFC 1918),
//	           unique-local (RFC 4193) or link-local addresses; what is sent to all on
//	           the link, and to look for services: 224.0.0.0/24, 255.255.255.255 and
//	           ff02::/16, 239.255.255.250 and ff05::c (SSDP, WS-Discovery)
//	none       nothing
//	as routed  whatever has a route of its own
//
// A network wider than /8 is not local: it is a claim to all of a kind. DHCP, and how
// IPv6 finds its neighbours, work with each of the three.
//
// The tunnel's own networks are never local, and so are the operator's routes into
// the tunnel. See Rules, and what package killswitch makes of it.
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

// Policies lists them all.
var Policies = []string{string(Private), string(None), string(AsRouted)}

// These bound how many networks are local, and how many inside of these are not. Each costs
// a policy rule, and a host has one for each of its interfaces; a router may advertise any
// number of routes.
const (
	maxLocal  = 64
	maxInside = 16 // in one of them
)

// A Claim is a network that has a route of its own, and is not local all the same.
type Claim struct {
	Network netip.Prefix
	Device  string
	Gateway netip.Addr // the zero Addr if it is said to be on the link
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
	Claims []Claim // of which none is local, at most maxLocal
	Inside []Claim // of which none is local either, but it lies in one that is: see Rules
}

// Look reads the host's routes, and tells what is local, and what only claims to be.
// What goes by the tunnel's own device is neither; what is always local (see Always) is
// left out.
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

// sort puts the networks that are refused where they belong. A local network with too many
// of them inside is not believed either. All get an order of their own, whatever the
// kernel's is, so that two looks can be compared.
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

// refuses tells why a network is not local, or "".
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

// private has the addresses that no host of the internet has, but for those of a link.
var private = append(prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"), linkLocal...)

// linkLocal has those of every link (RFC 3927; RFC 4291, section 2.5.6).
var linkLocal = prefixes("169.254.0.0/16", "fe80::/10")

func prefixes(list ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range list {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}
