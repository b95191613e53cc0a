package policy

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

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

// NewRefusal returns a rule that refuses packets. kind is RTN_UNREACHABLE (the program that
// sends gets "network is unreachable") or RTN_PROHIBIT ("permission denied").
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

// IP returns the ip(8) command for the family.
func IP(f hostnet.Family) string {
	if f == hostnet.V6 {
		return "ip -6"
	}
	return "ip -4"
}
