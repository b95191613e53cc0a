package lan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step6-dns/guard"
)

// Word is what nft calls a family where it is about addresses: "ip" or "ip6".
func Word(f hostnet.Family) string {
	if f == hostnet.V6 {
		return "ip6"
	}
	return "ip"
}

// Elements lists networks for a set of nft, where none may overlap another.
func Elements(list []netip.Prefix) string {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b netip.Prefix) int { return a.Bits() - b.Bits() })
	var kept []netip.Prefix
	var words []string
	for _, p := range list {
		p = p.Masked()
		if !slices.ContainsFunc(kept, func(k netip.Prefix) bool { return k.Overlaps(p) }) {
			kept = append(kept, p)
			words = append(words, p.String())
		}
	}
	return strings.Join(words, ", ")
}

// Injected is the table that drops what comes for the tunnel's addresses and not by
// the tunnel.
const Injected guard.Table = "inet stepvpn_lan"

// InjectedRuleset is that table as one would type it. Linux answers for each of its
// addresses on every interface. So a host of the local network that guesses the
// tunnel's address could find out whether a connection goes through the tunnel, and
// put packets into it (CVE-2019-14899). They are dropped before conntrack takes them
// for a part of that connection.
func InjectedRuleset(device string, addrs []netip.Prefix) string {
	var b strings.Builder
	for _, f := range hostnet.Families {
		var own []netip.Prefix
		for _, a := range addrs {
			if hostnet.FamilyOf(a.Addr()) == f {
				own = append(own, netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
			}
		}
		if set := Elements(own); set != "" {
			fmt.Fprintf(&b, "\t\tiifname != { \"lo\", %q } %s daddr { %s } drop\n", device, Word(f), set)
		}
	}
	return fmt.Sprintf("table %s {\n\tchain injected {\n\t\ttype filter hook prerouting priority -300\n%s\t}\n}\n", Injected, b.String())
}
