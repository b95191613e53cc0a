package route

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/step5-nat/hostnet"
)

// madeBy is written into the "protocol" of each route and rule, where the
// kernel keeps a number for who made it (rtnetlink(7)). It is how a later run
// knows ours from somebody else's.
const madeBy = 87

// A change is one command that do carries out and undo takes back.
type change struct {
	command  string
	do, undo func() error
}

// failed names the command in its error.
func (ch change) failed(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return hostnet.NeedsRoot(fmt.Errorf("%s: %w", ch.command, err))
	case errors.Is(err, unix.EEXIST):
		return app.Hint(fmt.Errorf("%s: it exists already", ch.command),
			"Another client was started at the same time: stop one of them.")
	case errors.Is(err, unix.ENETDOWN):
		return app.Hint(fmt.Errorf("%s: %w", ch.command, err), "Bring the device up first.")
	}
	return fmt.Errorf("%s: %w", ch.command, err)
}

// gone reports whether err says that the thing to remove was not there: the
// device took its route along, or a person was faster.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV)
}

// addRoute makes the tunnel's default route.
func addRoute(f hostnet.Family, device string) change {
	route := func(act func(*netlink.Route) error) func() error {
		return func() error {
			link, err := netlink.LinkByName(device)
			if errors.As(err, new(netlink.LinkNotFoundError)) {
				return unix.ENODEV
			} else if err != nil {
				return err
			}
			return act(&netlink.Route{
				Family:    int(f),
				LinkIndex: link.Attrs().Index,
				Dst:       everything(f),
				Scope:     scope(f),
				Table:     Table,
				Protocol:  madeBy,
			})
		}
	}
	return change{
		command: fmt.Sprintf("%s route add default dev %s table %d", ip(f), device, Table),
		do:      route(netlink.RouteAdd),
		undo:    route(netlink.RouteDel),
	}
}

// A rule is a policy rule, and how it is typed.
type rule struct {
	netlink.Rule
	text string
}

// addRule makes a policy rule.
func addRule(r rule) change {
	r.Protocol = madeBy
	return change{
		command: fmt.Sprintf("%s rule add priority %d %s", ip(hostnet.Family(r.Family)), r.Priority, r.text),
		do:      func() error { return netlink.RuleAdd(&r.Rule) },
		undo:    func() error { return netlink.RuleDel(&r.Rule) },
	}
}

// newRule fills in what all rules have.
func newRule(f hostnet.Family, priority, table int, text string) rule {
	r := rule{*netlink.NewRule(), text}
	r.Family, r.Priority, r.Table = int(f), priority, table
	return r
}

// local finds the local network: the main table without its default route,
// whose prefix length is 0.
func local(f hostnet.Family) rule {
	r := newRule(f, PriorityLocal, unix.RT_TABLE_MAIN, "lookup main suppress_prefixlength 0")
	r.SuppressPrefixlen = 0
	return r
}

// tunnel sends what is not marked into the tunnel, or refuses it.
func tunnel(f hostnet.Family, offered bool) rule {
	r := newRule(f, PriorityTunnel, Table, fmt.Sprintf("not fwmark %d lookup %d", FwMark, Table))
	if !offered {
		r = newRule(f, PriorityTunnel, 0, fmt.Sprintf("not fwmark %d unreachable", FwMark))
		r.Type = unix.RTN_UNREACHABLE
	}
	r.Mark, r.Invert = FwMark, true
	return r
}

// answers lets the host find the way to the server without the mark, for the
// check of the answers' source address.
func answers(network string, server netip.AddrPort) rule {
	addr := server.Addr()
	r := newRule(hostnet.FamilyOf(addr), PriorityAnswers, unix.RT_TABLE_MAIN,
		fmt.Sprintf("to %v ipproto %s dport %d lookup main", addr, network, server.Port()))
	r.Dst = &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(addr.BitLen(), addr.BitLen())}
	r.IPProto = protocols[network]
	r.Dport = netlink.NewRulePortRange(server.Port(), server.Port())
	return r
}

// protocols has the IP protocol number of each transport.
var protocols = map[string]int{"udp": unix.IPPROTO_UDP, "tcp": unix.IPPROTO_TCP}

// ip is the ip(8) command for the family.
func ip(f hostnet.Family) string {
	if f == hostnet.V6 {
		return "ip -6"
	}
	return "ip -4"
}

// everything is the destination of a default route.
func everything(f hostnet.Family) *net.IPNet {
	if f == hostnet.V4 {
		return &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	}
	return &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
}

// scope is that of a route without a gateway. IPv6 routes have no scope.
func scope(f hostnet.Family) netlink.Scope {
	if f == hostnet.V4 {
		return netlink.SCOPE_LINK
	}
	return netlink.SCOPE_UNIVERSE
}
