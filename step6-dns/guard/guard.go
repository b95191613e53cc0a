// Package guard lets no DNS query leave this host except to the tunnel's resolver.
// Introduced in step 6.
//
// A program may ignore resolv.conf and ask a resolver of its own choice, and a resolver
// on the local network can be reached outside of the tunnel. So policy rules, which come
// before those of package route, make the kernel refuse queries to any other resolver.
// For the resolver 10.8.0.1 a person would type
//
//	ip -4 rule add priority 22500 fwmark 22505 lookup main
//	ip -4 rule add priority 22501 to 10.8.0.1 lookup 22505
//	ip -4 rule add priority 22502 ipproto udp dport 53 prohibit
//	ip -4 rule add priority 22502 ipproto tcp dport 53 prohibit
//
// and the same with -6. The first rule lets the tunnel's own socket pass, in case the
// server listens on port 53; the server's answers need a rule of their own, see Socket.
// The second sends queries to the resolver into the tunnel, even if the local network
// has the same address. The last two refuse all other queries: the program that asks
// gets "permission denied" at once, and can fall back on resolv.conf.
// Queries to this host itself (127.0.0.53, say) are not affected; but the resolver that
// answers there must ask another one, and these rules hold for it, too. They also hold
// for the containers and virtual machines that this host forwards for.
//
// The rules alone have a hole. A program may tie its socket to an interface
// (SO_BINDTODEVICE, IP_UNICAST_IF, IP_PKTINFO; no root needed), and systemd-resolved
// does so for the resolvers of a link. When the rules refuse such a packet, Linux
// assumes that an IPv4 destination is on that link, and sends the packet there.
// Broadcasts and multicasts bypass these rules, too. So the firewall checks packets
// again after routing, in a table of our own, inet stepvpn_guard: a packet to port 53
// may go only to the resolver, and only through the tunnel's device; see Ruleset, or
// nft list ruleset.
//
// # What is not covered
//
// DNS over other ports looks like any other traffic: DNS over HTTPS (RFC 8484) or
// TLS (RFC 7858) goes through the tunnel like the rest, but directly to servers on
// the local network, as does multicast DNS (RFC 6762). A program that sets the
// firewall mark or writes whole Ethernet frames bypasses the guard; it needs root.
//
// If the client is killed, rules and table stay, so that no query leaves in the clear. A
// query to 10.8.0.1 is refused, too: the routes of table 22505 have gone with the device,
// so the kernel goes on to the rules with 22502. A reboot removes rules and table, and so
// does Recover.
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
	priorityAnswers  = route.PriorityFirst - 1 // of a Socket's rule; route.Default starts later, and would remove a rule within its own range
	priorityOwn      = route.PriorityFirst
	priorityResolver = route.PriorityFirst + 1
	priorityOthers   = route.PriorityFirst + 2
)

// port is that of DNS, over UDP and TCP (RFC 1035, section 4.2).
const port = 53

// DNS refuses queries to any but these resolvers, which are reached through the tunnel's
// device. Call it while route.Default is in force. The function that it returns undoes all
// this, and may be called more than once. If DNS fails, it leaves the host as it was. It
// needs the program nft(8).
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

// Rules returns the policy rules that DNS adds, in order. (DNS also makes Table, see
// Ruleset.) For each family that this host has, whether or not the tunnel carries it, these
// are Own, one rule inTunnel for each resolver of the family, and Refuse. A resolver may be
// named twice, and the kernel takes no rule twice. Without resolvers it is errNoResolver.
//
// Rules, Ruleset, Own and Refuse are exported for step 8, which keeps a list of all rules and
// has a kill switch of them.
//
//exercise:1
func Rules(resolvers []netip.Addr) (list []policy.Rule, err error) {
	if len(resolvers) == 0 {
		return nil, errNoResolver
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

var errNoResolver = app.Hint(errors.New("the server names no resolver to ask inside the tunnel"),
	"The server may be of an earlier step. With -allow-other-dns, queries go to the same resolver as before, where others may overhear them.")

// Recover removes what a killed client left, here and in package route. It returns an
// error if a client is running.
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

// inTunnel returns a rule that sends all packets to a resolver into the tunnel, by the table
// of package route.
//
//exercise:1
func inTunnel(f hostnet.Family, resolver netip.Addr) policy.Rule {
	r := policy.NewRule(f, priorityResolver, route.Table, fmt.Sprintf("to %v lookup %d", resolver, route.Table))
	r.To(policy.Host(resolver))
	return r
}

// Own returns a rule that exempts the tunnel's own socket, which has the firewall mark
// route.FwMark, from the rules that follow: the main table has the route for it.
//
//exercise:1
func Own(f hostnet.Family, priority int) policy.Rule {
	r := policy.NewRule(f, priority, unix.RT_TABLE_MAIN, fmt.Sprintf("fwmark %d lookup main", route.FwMark))
	r.Mark = route.FwMark
	return r
}

// Refuse returns rules that refuse all queries over UDP and TCP, to any resolver. The sender
// gets "permission denied".
//
//exercise:1
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
