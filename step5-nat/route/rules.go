package route

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
)

// This file has the client's routing rules, in the order of their priority: answers lets the
// server's packets pass the kernel's reverse-path check (rp_filter); Local keeps the local
// network outside of the tunnel; Tunnel sends all other packets into it, except those with the
// client's own mark.

// The rules are policy.Rules (policy/rule.go). NewRule makes one that looks up a table, and
// NewRefusal one that refuses. It matches all packets, unless To, Port or Mark limit it;
// Invert then makes it match all others. SuppressPrefixlen 0 ignores the default route that
// the lookup finds.

// Local returns a rule that finds the local network: it looks up the main table, but
// ignores its default route, the one whose prefix length is 0. (Local and Tunnel are
// exported for step 8's list of rules.)
//
//exercise:1
func Local(f hostnet.Family, priority int) policy.Rule {
	r := policy.NewRule(f, priority, unix.RT_TABLE_MAIN, "lookup main suppress_prefixlength 0")
	r.SuppressPrefixlen = 0
	return r
}

// Tunnel returns a rule that routes packets without the mark by the tunnel's table, or
// refuses them if the tunnel does not carry the family.
//
//exercise:1
func Tunnel(f hostnet.Family, carried bool) policy.Rule {
	r := policy.NewRule(f, PriorityTunnel, Table, fmt.Sprintf("not fwmark %d lookup %d", FwMark, Table))
	if !carried {
		r = policy.NewRefusal(f, PriorityTunnel, unix.RTN_UNREACHABLE, fmt.Sprintf("not fwmark %d unreachable", FwMark))
	}
	r.Mark, r.Invert = FwMark, true
	return r
}

// answers returns a rule by which the host finds the route to the server without the mark,
// so that the server's packets pass the reverse-path check. network is "udp" or "tcp".
//
//exercise:1
func answers(network string, server netip.AddrPort) policy.Rule {
	r := policy.NewRule(hostnet.FamilyOf(server.Addr()), priorityAnswers, unix.RT_TABLE_MAIN,
		fmt.Sprintf("to %v ipproto %s dport %d lookup main", server.Addr(), network, server.Port()))
	r.To(policy.Host(server.Addr()))
	r.Port(protocols[network], server.Port())
	return r
}

// protocols has the IP protocol number of each transport.
var protocols = map[string]int{"udp": unix.IPPROTO_UDP, "tcp": unix.IPPROTO_TCP}
