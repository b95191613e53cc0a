package takeover

import (
	"net/netip"
	"slices"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
)

// withResolvers adds the tunnel's resolvers to the networks that go through it: names
// are asked for there, whatever else is. nil stands for everything, as ever. Of a
// family that the tunnel does not carry nobody can be asked.
func withResolvers(only, addrs []netip.Prefix, resolvers []netip.Addr) []netip.Prefix {
	if only == nil {
		return nil
	}
	only = slices.Clone(only)
	for _, r := range resolvers {
		if len(hostnet.FamilyOf(r).Subnets(addrs)) > 0 {
			only = append(only, policy.Host(r))
		}
	}
	return only
}
