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

// Always returns what is local on every link: where "all on this link" is (RFC 919,
// RFC 5771, RFC 4291), its addresses without a router (RFC 3927), and where services
// are looked for.
func (p Policy) Always() []netip.Prefix {
	if p == None {
		return nil
	}
	return append(prefixes("224.0.0.0/24", "239.255.255.250/32", "255.255.255.255/32", "ff02::/16", "ff05::c/128"), linkLocal...)
}

// dhcp has the ports of a client and a server, for each family (RFC 2131, RFC 8415).
// A renewal is sent to the server's own address.
var dhcp = map[hostnet.Family][2]uint16{hostnet.V4: {68, 67}, hostnet.V6: {546, 547}}

// Rules returns policy rules by which what is local goes its own way, as one would
// type, for 192.168.1.0/24,
//
//	ip -4 rule add priority N iif lo ipproto udp sport 68 dport 67 lookup main
//	ip -4 rule add priority N to 224.0.0.0/24 lookup main
//	ip -4 rule add priority N to 192.168.1.0/24 lookup main suppress_prefixlength 23
//
// and so on. Only routes that are as narrow as the network itself count for it. What lies
// in it and is not local, as 192.168.1.128/25 behind a gateway, has a rule of its own
// before it, as those of the tunnel below.
//
// What comes behind is for the kernel itself. It asks the rules, too, before it answers
// a question of ARP (on a host with rp_filter) and before it takes a route by a gateway:
// also in a network that is not local a router has to find this host, and DHCP has to
// set a default route. The kernel asks as root, and for no protocol. What programs send
// has one, and so never gets that far, except for rare ones of root's. (iif lo stands for
// what this host sends itself; what it forwards for containers is nobody's, too.)
//
//	ip -4 rule add priority N ipproto tcp lookup 22505       # or, without a tunnel: unreachable
//	ip -4 rule add priority N iif lo uidrange 0-0 lookup main suppress_prefixlength 0
//
// table is that of the tunnel; 0 stands for none, and that only the networks in only are
// unreachable, or all if it is nil.
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

// decisions lists what is local and what lies in it and is not, the narrowest first.
func (n Networks) decisions(f hostnet.Family) (list []Claim) {
	for _, c := range slices.Concat(n.Local, n.Inside) {
		if hostnet.FamilyOf(c.Network.Addr()) == f {
			list = append(list, c)
		}
	}
	slices.SortStableFunc(list, func(a, b Claim) int { return b.Network.Bits() - a.Network.Bits() })
	return list
}

// into leads into the tunnel's table, or nowhere if there is none.
func into(f hostnet.Family, priority, table int, what string) policy.Rule {
	if table == 0 {
		return policy.NewRefusal(f, priority, unix.RTN_UNREACHABLE, what+"unreachable")
	}
	return policy.NewRule(f, priority, table, fmt.Sprintf("%slookup %d", what, table))
}

// toMain finds the way to a network in the main table, but not by wider routes.
func toMain(f hostnet.Family, priority int, n netip.Prefix) policy.Rule {
	r := policy.NewRule(f, priority, unix.RT_TABLE_MAIN, fmt.Sprintf("to %v lookup main suppress_prefixlength %d", n, n.Bits()-1))
	r.To(n)
	r.SuppressPrefixlen = n.Bits() - 1
	return r
}

// thisHost is the interface by which packets come that are this host's own.
const thisHost = "lo"

// kernels are the rules for the kernel itself. For IPv6 it asks none.
func kernels(f hostnet.Family, priority, table int, only []netip.Prefix) (list []policy.Rule) {
	if f != hostnet.V4 {
		return nil
	}
	if only == nil || table != 0 { // a table has no routes but for them
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

// protocols are those of programs.
var protocols = []struct {
	name   string
	number int
}{{"tcp", unix.IPPROTO_TCP}, {"udp", unix.IPPROTO_UDP}, {"icmp", unix.IPPROTO_ICMP}, {"sctp", unix.IPPROTO_SCTP}}

// Own returns rules of nft that accept what this host itself sends to be on a network:
// group reports, neighbour discovery, DHCP. The containers that it forwards for are on none.
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

// Accept returns rules of nft that accept what may leave to the local network, each by the
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

// interfaceName matches those that need no thought about how nft reads them.
var interfaceName = regexp.MustCompile(`^[A-Za-z0-9_.:@-]{1,15}$`)
