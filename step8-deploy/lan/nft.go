package lan

import (
	"net/netip"
	"slices"
	"strings"

	"stepvpn/step5-nat/hostnet"
)

// This file writes networks in the language of nft, for the tables of this package and of
// others.

// Word returns nft's word for a family's addresses: "ip" or "ip6".
func Word(f hostnet.Family) string {
	if f == hostnet.V6 {
		return "ip6"
	}
	return "ip"
}

// Elements lists networks as elements of an nft set. As those must not overlap, it merges
// networks.
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
