package route

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
)

// local finds the local network: the main table without its default route,
// whose prefix length is 0.
func local(f hostnet.Family) policy.Rule {
	r := policy.NewRule(f, PriorityLocal, unix.RT_TABLE_MAIN, "lookup main suppress_prefixlength 0")
	r.SuppressPrefixlen = 0
	return r
}

// tunnel sends what is not marked into the tunnel, or refuses it.
func tunnel(f hostnet.Family, offered bool) policy.Rule {
	r := policy.NewRule(f, PriorityTunnel, Table, fmt.Sprintf("not fwmark %d lookup %d", FwMark, Table))
	if !offered {
		r = policy.NewRefusal(f, PriorityTunnel, unix.RTN_UNREACHABLE, fmt.Sprintf("not fwmark %d unreachable", FwMark))
	}
	r.Mark, r.Invert = FwMark, true
	return r
}

// answers lets the host find the way to the server without the mark, for the
// check of the answers' source address.
func answers(network string, server netip.AddrPort) policy.Rule {
	r := policy.NewRule(hostnet.FamilyOf(server.Addr()), PriorityAnswers, unix.RT_TABLE_MAIN,
		fmt.Sprintf("to %v ipproto %s dport %d lookup main", server.Addr(), network, server.Port()))
	r.To(server.Addr())
	r.Port(protocols[network], server.Port())
	return r
}

// protocols has the IP protocol number of each transport.
var protocols = map[string]int{"udp": unix.IPPROTO_UDP, "tcp": unix.IPPROTO_TCP}
