// Package keep compares what this host should have with what it has, and mends the
// difference: policy rules by what they say, routes, a device, and tables of nft by their
// text. Introduced in step 8.
//
// Steps 5 and 6 carry a list of changes out once. But other programs change the host,
// too: systemd-networkd removes rules that are not its own, and a firewall is often
// loaded from a file that begins with "flush ruleset".
//
// All functions act in the network namespace of the thread that they run on.
package keep

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
)

// Rules sees to it that this host has, of the priorities from low to high, the rules of
// want and no others of ours, those of one priority in that order. It returns how many
// had been missing. What is missing is added before anything else is removed.
// After an error it goes on: each rule that is there keeps something closed. It may be
// called from any goroutine.
func Rules(low, high int, want []policy.Rule) (missing int, err error) {
	var errs []error
	for _, f := range hostnet.Families {
		if f.Off() {
			continue
		}
		// The kernel removes the first rule that has all that was named, and perhaps more
		// than that. So we look again.
		const rounds = 3
		for range rounds {
			added, removed, err := rulesOnce(f, low, high, want)
			missing += added
			if err != nil {
				errs = append(errs, err)
			}
			if err != nil || removed == 0 {
				break
			}
		}
	}
	return missing, errors.Join(errs...)
}

func rulesOnce(f hostnet.Family, low, high int, want []policy.Rule) (added, removed int, err error) {
	have, _, err := policy.Rules(f, func(r netlink.Rule) bool { return r.Priority >= low && r.Priority <= high })
	if err != nil {
		return 0, 0, err
	}
	there := make(map[string]bool, len(have))
	for _, r := range have {
		there[key(r)] = true
	}
	wanted := make(map[string]bool, len(want))
	behind := make(map[int]bool) // priorities of which a rule was added: those that follow it there have to be behind it
	var errs []error
	for _, w := range want {
		k := key(w.Rule)
		if w.Family != int(f) || w.Priority < low || w.Priority > high || wanted[k] {
			continue
		}
		wanted[k] = true
		if there[k] && !behind[w.Priority] {
			continue
		}
		add := w.Add()
		if there[k] {
			errs = append(errs, add.Undo())
		}
		switch err := add.Do(); {
		case err == nil && !there[k]:
			added++
			behind[w.Priority] = true
		case err != nil && !errors.Is(err, unix.EEXIST):
			errs = append(errs, fmt.Errorf("%s: %w", add.Command, err))
		}
	}
	surplus := slices.DeleteFunc(have, func(r netlink.Rule) bool { return wanted[key(r)] })
	errs = append(errs, policy.Remove(surplus))
	return added, len(surplus), errors.Join(errs...)
}

// key has all that we set of a rule. (The kernel's list as the library reads it does
// not tell one kind of refusal from another. None has a table.)
func key(r netlink.Rule) string {
	ports := func(p *netlink.RulePortRange) string {
		if p == nil {
			return "any"
		}
		return fmt.Sprintf("%d-%d", p.Start, p.End)
	}
	network := func(n *net.IPNet) string {
		if n == nil {
			return "any"
		}
		return n.String()
	}
	return fmt.Sprintf("%d table %d mark %d not %v to %s protocol %d ports %s %s suppress %d users %v by %s", r.Priority, r.Table, r.Mark, r.Invert,
		network(r.Dst), r.IPProto, ports(r.Sport), ports(r.Dport), r.SuppressPrefixlen, r.UIDRange != nil, r.IifName)
}
