package guard

import (
	"fmt"
	"net/netip"
	"strings"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/nft"
)

// firewall returns the change that makes our table in the firewall, which refuses the
// queries that the policy rules can't stop (see the package's comment). It replaces a
// table that a killed client left.
func firewall(device string, resolvers []netip.Addr) policy.Change {
	return policy.Change{
		Command: "nft add table " + string(Table),
		Do:      func() error { return Table.Set(Ruleset(device, resolvers)) },
		Undo:    Table.Remove,
	}
}

// Table is the name of our table in the firewall.
const Table nft.Table = "inet stepvpn_guard"

// Ruleset returns the text of Table, as a person would type it. Its chains see a packet
// after the kernel has chosen its route.
func Ruleset(device string, resolvers []netip.Addr) string {
	var pass strings.Builder
	for _, a := range resolvers {
		family := "ip"
		if hostnet.FamilyOf(a) == hostnet.V6 {
			family = "ip6"
		}
		fmt.Fprintf(&pass, "\t\toifname %q %s daddr %v accept\n", device, family, a)
	}
	return ruleset(pass.String())
}

// ruleset returns the text of Table, in which these lines say what passes.
func ruleset(pass string) string {
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
`, Table, route.FwMark, pass, port)
}
