package reconcile

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

// Rules makes sure that this host has, with priorities from low to high, the policy rules in
// want and no others of ours; those of one priority are in that order. It returns how many had
// been missing. It adds what is missing before it removes anything. It goes on after an error,
// because each rule that is in place keeps something closed. It is safe for concurrent use.
func Rules(low, high int, want []policy.Rule) (missing int, err error) {
	var errs []error
	for _, f := range hostnet.Families {
		if f.Off() {
			continue
		}
		// The kernel removes the first rule that has all named properties, though it may have
		// others as well. So look again.
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

// rulesOnce adds what is missing of one family, and then removes what is not wanted.
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
	behind := make(map[int]bool) // priorities with a rule that was added: later rules of the same priority must follow it
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

// key has all properties of a rule that we set. (The library, when it reads the kernel's
// list, does not tell the kinds of refusal apart. None of them has a table.)
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
