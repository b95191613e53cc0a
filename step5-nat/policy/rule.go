package policy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/hostnet"
)

// A Rule is a policy rule (ip-rule(8)), and the text that one would type for it after the
// priority.
type Rule struct {
	netlink.Rule
	text string
}

// MadeBy is the "protocol" of each of our routes and rules: the number that the kernel
// stores for the program that made it (rtnetlink(7)).
const MadeBy = 87

// NewRule returns a rule that looks up the route in a table. text is the rule as one would
// type it after the priority; callers set the fields that say which packets it matches.
func NewRule(f hostnet.Family, priority, table int, text string) Rule {
	r := Rule{*netlink.NewRule(), text}
	r.Family, r.Priority, r.Table, r.Protocol = int(f), priority, table, MadeBy
	return r
}

// NewRefusal returns a rule that refuses packets. kind is RTN_UNREACHABLE (the sender
// gets "no route to host") or RTN_PROHIBIT ("permission denied").
func NewRefusal(f hostnet.Family, priority int, kind uint8, text string) Rule {
	r := NewRule(f, priority, 0, text)
	r.Type = kind
	return r
}

// To limits the rule to packets for the addresses in p.
func (r *Rule) To(p netip.Prefix) {
	r.Dst = &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Host returns the prefix that contains only the address a.
func Host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// Port limits the rule to packets of an IP protocol, such as IPPROTO_UDP, to one
// port. Linux has this since 4.17.
func (r *Rule) Port(protocol int, port uint16) {
	r.IPProto = protocol
	r.Dport = netlink.NewRulePortRange(port, port)
}

// Add returns the Change that makes the rule.
func (r Rule) Add() Change {
	return Change{
		Command: fmt.Sprintf("%s rule add priority %d %s", IP(hostnet.Family(r.Family)), r.Priority, r.text),
		Do:      func() error { return netlink.RuleAdd(&r.Rule) },
		Undo:    func() error { return netlink.RuleDel(&r.Rule) },
	}
}

// Rules returns those rules of the family for which clashes returns true: ours, and the
// first one of another program, or nil.
func Rules(f hostnet.Family, clashes func(netlink.Rule) bool) (ours []netlink.Rule, foreign *netlink.Rule, err error) {
	rules, err := hostnet.Complete(func() ([]netlink.Rule, error) { return netlink.RuleList(int(f)) })
	if err != nil {
		return nil, nil, fmt.Errorf("reading the %v rules: %w", f, err)
	}
	for _, r := range rules {
		switch {
		case !clashes(r):
		case r.Protocol == MadeBy:
			ours = append(ours, r)
		case foreign == nil:
			foreign = &r
		}
	}
	return ours, foreign, nil
}

// Remove removes rules that a killed program left. Rules that no longer exist are no error.
func Remove(rules []netlink.Rule) error {
	for _, r := range rules {
		if err := netlink.RuleDel(&r); err != nil && !gone(err) {
			return fmt.Errorf("removing the rule %v of a client that was killed: %w", r, err)
		}
	}
	return nil
}

// Everything returns the destination of a default route.
func Everything(f hostnet.Family) netip.Prefix {
	if f == hostnet.V4 {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// AddRoute returns the Change that makes a route into a device, in a table.
func AddRoute(to netip.Prefix, device string, table int) Change {
	f := hostnet.FamilyOf(to.Addr())
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
				Dst:       &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())},
				Scope:     scope(f),
				Table:     table,
				Protocol:  MadeBy,
			})
		}
	}
	name := to.String()
	if to.Bits() == 0 {
		name = "default"
	}
	return Change{
		Command: fmt.Sprintf("%s route add %s dev %s table %d", IP(f), name, device, table),
		Do:      route(netlink.RouteAdd),
		Undo:    route(netlink.RouteDel),
	}
}

// RemoveRoute removes a route that a killed program left. It is no error if the route no
// longer exists.
func RemoveRoute(r netlink.Route) error {
	if err := netlink.RouteDel(&r); err != nil && !gone(err) {
		return err
	}
	return nil
}

// IP returns the ip(8) command for the family.
func IP(f hostnet.Family) string {
	if f == hostnet.V6 {
		return "ip -6"
	}
	return "ip -4"
}

// scope returns the scope of a route without a gateway. IPv6 routes have no scope.
func scope(f hostnet.Family) netlink.Scope {
	if f == hostnet.V4 {
		return netlink.SCOPE_LINK
	}
	return netlink.SCOPE_UNIVERSE
}
