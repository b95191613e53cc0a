package lan

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/guard"
)

// This file makes the rules that let local traffic pass outside of the tunnel, out of a Policy
// and of what is local now: routing rules (ip rule), and rules of nft.

// Always returns what is local on every link: the addresses of all hosts on the link
// (RFC 919, RFC 5771, RFC 4291), link-local addresses (RFC 3927), and the multicast
// addresses at which programs look for services.
func (p Policy) Always() []netip.Prefix {
	if p == None {
		return nil
	}
	return append(prefixes("224.0.0.0/24", "239.255.255.250/32", "255.255.255.255/32", "ff02::/16", "ff05::c/128"), linkLocal...)
}

// dhcp has the ports of a client and a server, for each family (RFC 2131, RFC 8415).
// A renewal is sent to the server's own address.
var dhcp = map[hostnet.Family][2]uint16{hostnet.V4: {68, 67}, hostnet.V6: {546, 547}}

// Rules returns policy rules that send local packets outside of the tunnel. For
// 192.168.1.0/24, a person would type
//
//	ip -4 rule add priority N iif lo ipproto udp sport 68 dport 67 lookup main
//	ip -4 rule add priority N to 224.0.0.0/24 lookup main
//	ip -4 rule add priority N to 192.168.1.0/24 lookup main suppress_prefixlength 23
//
// and so on. suppress_prefixlength ignores routes that are wider than the network itself. A
// network inside of it that is not local, such as 192.168.1.128/25 behind a gateway, has a
// rule of its own before it, like those below that lead into the tunnel.
//
// The last rules are for the kernel itself. It consults the rules, too, before it answers an
// ARP request (on a host with rp_filter), and before it accepts a route through a gateway:
// even if the network is not local, a router must be able to find this host, and DHCP must
// be able to set a default route. The kernel does so as user 0, and without a protocol.
// Programs' packets have a protocol, and so never get to the second of these rules, except
// for rare protocols of root's. (iif lo matches packets that this host itself sends, and not
// those that it forwards for containers, which have no user either.)
//
//	ip -4 rule add priority N ipproto tcp lookup 22505       # or, without a tunnel: unreachable
//	ip -4 rule add priority N iif lo uidrange 0-0 lookup main suppress_prefixlength 0
//
// table is the tunnel's table. If it is 0, there is no tunnel, and the networks in only are
// unreachable; if only is nil, all are.
func (p Policy) Rules(f hostnet.Family, priority, table int, only []netip.Prefix, n Networks) []policy.Rule {
	r := policy.NewRule(f, priority, unix.RT_TABLE_MAIN, fmt.Sprintf("iif lo ipproto udp sport %d dport %d lookup main", dhcp[f][0], dhcp[f][1]))
	r.Port(unix.IPPROTO_UDP, dhcp[f][1])
	r.Sport = netlink.NewRulePortRange(dhcp[f][0], dhcp[f][0])
	r.IifName = thisHost
	list := []policy.Rule{r}
	for _, l := range f.Subnets(p.Always()) {
		if l.Addr().IsMulticast() || l.IsSingleIP() { // by the default route, if there is no other
			r := policy.NewRule(f, priority, unix.RT_TABLE_MAIN, fmt.Sprintf("to %v lookup main", l))
			r.To(l)
			list = append(list, r)
			continue
		}
		list = append(list, toMain(f, priority, l))
	}
	if p == AsRouted && only == nil { // nothing in a list is local
		return append(list, route.Local(f, priority))
	}
	for _, d := range n.decisions(f) {
		if d.Why == "" {
			list = append(list, toMain(f, priority, d.Network))
		} else {
			r := into(f, priority, table, fmt.Sprintf("to %v ", d.Network))
			r.To(d.Network)
			list = append(list, r)
		}
	}
	return append(list, kernels(f, priority, table, only)...)
}

// decisions lists the local networks, and the networks inside of them that are not local,
// the narrowest first.
func (n Networks) decisions(f hostnet.Family) (list []Claim) {
	for _, c := range slices.Concat(n.Local, n.Inside) {
		if hostnet.FamilyOf(c.Network.Addr()) == f {
			list = append(list, c)
		}
	}
	slices.SortStableFunc(list, func(a, b Claim) int { return b.Network.Bits() - a.Network.Bits() })
	return list
}

// into returns a rule that leads into the tunnel's table, or nowhere if there is none.
func into(f hostnet.Family, priority, table int, what string) policy.Rule {
	if table == 0 {
		return policy.NewRefusal(f, priority, unix.RTN_UNREACHABLE, what+"unreachable")
	}
	return policy.NewRule(f, priority, table, fmt.Sprintf("%slookup %d", what, table))
}

// toMain returns a rule that looks up a network in the main table, but ignores wider routes.
func toMain(f hostnet.Family, priority int, n netip.Prefix) policy.Rule {
	r := policy.NewRule(f, priority, unix.RT_TABLE_MAIN, fmt.Sprintf("to %v lookup main suppress_prefixlength %d", n, n.Bits()-1))
	r.To(n)
	r.SuppressPrefixlen = n.Bits() - 1
	return r
}

// thisHost is the incoming interface of packets that this host itself sends.
const thisHost = "lo"

// kernels returns the rules for the kernel itself, which needs none for IPv6.
func kernels(f hostnet.Family, priority, table int, only []netip.Prefix) (list []policy.Rule) {
	if f != hostnet.V4 {
		return nil
	}
	if only == nil || table != 0 { // a table has routes to these networks only
		only = []netip.Prefix{policy.Everything(f)}
	}
	for _, n := range f.Subnets(only) {
		to := ""
		if n.Bits() > 0 {
			to = fmt.Sprintf("to %v ", n)
		}
		for _, p := range protocols {
			r := into(f, priority, table, to+"ipproto "+p.name+" ")
			if n.Bits() > 0 {
				r.To(n)
			}
			r.IPProto = p.number
			list = append(list, r)
		}
	}
	r := policy.NewRule(f, priority, unix.RT_TABLE_MAIN, "iif lo uidrange 0-0 lookup main suppress_prefixlength 0")
	r.SuppressPrefixlen = 0
	r.IifName = thisHost
	guard.OfKernel(&r)
	return append(list, r)
}

// protocols are the protocols that programs use.
var protocols = []struct {
	name   string
	number int
}{{"tcp", unix.IPPROTO_TCP}, {"udp", unix.IPPROTO_UDP}, {"icmp", unix.IPPROTO_ICMP}, {"sctp", unix.IPPROTO_SCTP}}

// Own returns nft rules that accept what this host itself must send to be on a network:
// group reports, neighbour discovery, DHCP. They are not for packets that it forwards.
func Own() []string {
	list := []string{
		"meta l4proto igmp accept",
		"ip6 hoplimit 255 icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept",
		"icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report } accept",
	}
	for _, f := range hostnet.Families {
		list = append(list, fmt.Sprintf("meta nfproto %s udp sport %d udp dport %d accept", strings.ToLower(f.String()), dhcp[f][0], dhcp[f][1]))
	}
	return list
}

// Accept returns nft rules that accept packets to the local networks, each through the
// interface that leads there.
func (p Policy) Accept(n Networks) (list []string) {
	for _, f := range hostnet.Families {
		if set := Elements(f.Subnets(p.Always())); set != "" {
			list = append(list, fmt.Sprintf("%s daddr { %s } accept", Word(f), set))
		}
		for _, d := range n.decisions(f) {
			if d.Why != "" {
				list = append(list, fmt.Sprintf("%s daddr %v reject with icmpx type no-route", Word(f), d.Network))
			} else if interfaceName.MatchString(d.Device) {
				list = append(list, fmt.Sprintf("oifname %q %s daddr %v accept", d.Device, Word(f), d.Network))
			}
		}
	}
	return list
}

// interfaceName matches names of interfaces that nft can't read as anything else.
var interfaceName = regexp.MustCompile(`^[A-Za-z0-9_.:@-]{1,15}$`)
