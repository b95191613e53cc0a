package guard

import (
	"fmt"
	"net/netip"
	"strings"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step5-nat/route"
)

// A Table is one of our own in nft(8), by its family and name, with all that is in
// it. Its methods take the program nft.
type Table string

// Set makes the table what ruleset says, in the place of one that is there: all at
// once, so that nothing gets through meanwhile.
func (t Table) Set(ruleset string) error {
	_, err := nft(t.sweep() + ruleset)
	return err
}

// List returns what is in the table, as nft shows it, without what counters have
// counted. It is an error if there is no such table.
func (t Table) List() (string, error) { return nft("list table " + string(t)) }

// Remove removes the table, whether it is there or not.
func (t Table) Remove() error { return t.Set("") }

// Recover removes the table if there is one. It is no error if there can be none.
func (t Table) Recover() error {
	_, err := t.List()
	if err == nil {
		return t.Remove()
	}
	for _, none := range []string{"No such file", "not supported", "not installed"} {
		if strings.Contains(err.Error(), none) {
			return nil // it is not there, or there cannot be one: no nft, or a kernel without
		}
	}
	return err
}

// sweep removes the table, there or not.
func (t Table) sweep() string { return fmt.Sprintf("add table %s\ndelete table %[1]s\n", t) }

// OurTable is the one that Firewall makes.
const OurTable Table = "inet stepvpn_guard"

// Firewall makes our table, in the place of one that a killed client left.
func Firewall(device string, resolvers []netip.Addr) policy.Change {
	return policy.Change{
		Command: "nft add table " + string(OurTable),
		Do:      func() error { return OurTable.Set(ruleset(device, resolvers)) },
		Undo:    OurTable.Remove,
	}
}

// ruleset is the table as one would type it. What leaves is looked at after the
// kernel has chosen the way.
func ruleset(device string, resolvers []netip.Addr) string {
	var pass strings.Builder
	for _, a := range resolvers {
		family := "ip"
		if hostnet.FamilyOf(a) == hostnet.V6 {
			family = "ip6"
		}
		fmt.Fprintf(&pass, "\t\toifname %q %s daddr %v accept\n", device, family, a)
	}
	return fmt.Sprintf(`table %s {
	chain queries {
		meta mark %d accept
		oifname "lo" accept
%s		meta l4proto tcp reject with tcp reset
		reject with icmpx type admin-prohibited
	}
	chain output {
		type filter hook output priority 0
		meta l4proto { tcp, udp } th dport %d jump queries
	}
	chain forward {
		type filter hook forward priority 0
		meta l4proto { tcp, udp } th dport %[4]d jump queries
	}
}
`, OurTable, route.FwMark, pass.String(), port)
}
