// Package guard lets no DNS query out of this host but to the tunnel's resolver.
// Introduced in step 6.
//
// A program need not read resolv.conf: it may know a resolver of its own. And a
// resolver on the local network is reachable outside of the tunnel. So the kernel is
// told to refuse queries to anyone else, by policy rules that come before those
// of package route. For the resolver 10.8.0.1 a person would type
//
//	ip -4 rule add priority 22500 fwmark 22505 lookup main
//	ip -4 rule add priority 22501 to 10.8.0.1 lookup 22505
//	ip -4 rule add priority 22502 ipproto udp dport 53 prohibit
//	ip -4 rule add priority 22502 ipproto tcp dport 53 prohibit
//
// and the same with -6. First the tunnel's own socket gets past, in case the
// server listens on port 53; what the server answers gets in by a rule of its own,
// see Socket. Then the resolver is in the tunnel, also if its address is on the local
// network, too. Everybody else is refused: the program that asks gets "permission
// denied" at once, and turns to what resolv.conf says.
// Queries to this host itself (127.0.0.53, say) stay as they are; who answers
// there must ask on, and is bound by the same rules. So are the containers and
// virtual machines that this host forwards for.
//
// The rules alone have a hole. A program may tie its socket to an interface
// (SO_BINDTODEVICE, IP_UNICAST_IF, IP_PKTINFO; no root needed), and systemd-resolved
// does so for the resolvers of a link. When the rules refuse such a packet, Linux
// takes an IPv4 destination to be on that link, and sends it there. Broadcasts and
// multicasts do not come to these rules either. So the firewall looks at what
// leaves in the end, in a table of our own, inet stepvpn_guard: port 53 is for the
// resolver, by the tunnel's device; see Ruleset, or nft list ruleset.
//
// # What is not covered
//
// DNS over other ports looks like any other traffic: DNS over HTTPS (RFC 8484) or
// TLS (RFC 7858) goes through the tunnel like the rest, and past it to servers on
// the local network, as does multicast DNS (RFC 6762). A program that sets the
// mark or writes whole Ethernet frames gets past; it needs root.
//
// When the client is killed, rules and table stay: no query leaves in the clear. A
// boot removes them, and Recover.
package guard

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step5-nat/route"
)

// Priorities of the rules, before those of package route.
const (
	priorityAnswers  = route.PriorityFirst - 1 // of a Socket; not swept by route.Default, which finds it in use
	priorityOwn      = route.PriorityFirst
	priorityResolver = route.PriorityFirst + 1
	priorityOthers   = route.PriorityFirst + 2
)

// port is that of DNS, over UDP and TCP (RFC 1035, section 4.2).
const port = 53

// DNS refuses queries to all but the resolvers, which are reached by the tunnel's
// device. Call it while route.Default is in force. What it returns takes that back, and may
// be called more than once. If DNS fails, the host is as it was. It takes the program nft(8).
func DNS(device string, resolvers []netip.Addr) (undo func() error, err error) {
	rules, err := Rules(resolvers)
	if err != nil {
		return nil, err
	}
	list := []policy.Change{firewall(device, resolvers)}
	for _, r := range rules {
		list = append(list, r.Add())
	}
	return policy.CarryOut(list, slog.Info)
}

// Rules returns those that DNS adds, in order. Beside them it makes Table, see Ruleset.
func Rules(resolvers []netip.Addr) (list []policy.Rule, err error) {
	if len(resolvers) == 0 {
		return nil, app.Hint(errors.New("the server names no resolver to ask inside the tunnel"),
			"It may be of an earlier step. With -allow-other-dns names are asked as before, and may be overheard.")
	}
	for _, f := range hostnet.Families {
		if f.Off() {
			continue
		}
		list = append(list, Own(f, priorityOwn))
		for i, a := range resolvers {
			if hostnet.FamilyOf(a) == f && !slices.Contains(resolvers[:i], a) {
				list = append(list, inTunnel(f, a))
			}
		}
		list = append(list, Refuse(f, priorityOthers)...)
	}
	return list, nil
}

// Recover removes what a killed client left, here and in package route. It is an
// error if a client runs.
func Recover() error {
	if err := route.Recover(); err != nil {
		return err
	}
	if err := recoverSockets(); err != nil {
		return err
	}
	if err := Table.Recover(); err != nil {
		return fmt.Errorf("removing the nft table %s of a client that was killed: %w", Table, err)
	}
	return nil
}

func inTunnel(f hostnet.Family, resolver netip.Addr) policy.Rule {
	r := policy.NewRule(f, priorityResolver, route.Table, fmt.Sprintf("to %v lookup %d", resolver, route.Table))
	r.To(policy.Host(resolver))
	return r
}

// Own returns a rule that keeps the tunnel's own socket away from the rules that
// follow.
func Own(f hostnet.Family, priority int) policy.Rule {
	r := policy.NewRule(f, priority, unix.RT_TABLE_MAIN, fmt.Sprintf("fwmark %d lookup main", route.FwMark))
	r.Mark = route.FwMark
	return r
}

// Refuse returns rules that refuse all queries, whomever they are for.
func Refuse(f hostnet.Family, priority int) []policy.Rule {
	var rules []policy.Rule
	for _, p := range []struct {
		name   string
		number int
	}{{"udp", unix.IPPROTO_UDP}, {"tcp", unix.IPPROTO_TCP}} {
		r := policy.NewRefusal(f, priority, unix.RTN_PROHIBIT, fmt.Sprintf("ipproto %s dport %d prohibit", p.name, port))
		r.Port(p.number, port)
		rules = append(rules, r)
	}
	return rules
}
