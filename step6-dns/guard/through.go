package guard

import (
	"fmt"

	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step5-nat/route"
)

// Second reading, for a chapter after step 8: nobody names a resolver to ask in the tunnel, so
// programs go on asking those that this host has, but only through the tunnel.

// Through returns the policy rules that send queries into the tunnel, whichever resolver they
// are for. For the families that the tunnel carries, a person would type
//
//	ip -4 rule add priority 22501 ipproto udp dport 53 lookup 22505
//	ip -4 rule add priority 22501 ipproto tcp dport 53 lookup 22505
//
// and all the rest is as in Rules. A resolver on the local network can't be reached that way. A
// query to one fails slowly if the tunnel leads to nobody of that address, but none is overheard.
func Through(carried func(hostnet.Family) bool) (list []policy.Rule) {
	for _, f := range hostnet.Families {
		if f.Off() {
			continue
		}
		list = append(list, Own(f, priorityOwn))
		for _, p := range protocols {
			if !carried(f) {
				break
			}
			r := policy.NewRule(f, priorityResolver, route.Table, fmt.Sprintf("ipproto %s dport %d lookup %d", p.name, port, route.Table))
			r.Port(p.number, port)
			list = append(list, r)
		}
		list = append(list, Refuse(f, priorityOthers)...)
	}
	return list
}

var protocols = []struct {
	name   string
	number int
}{{"udp", unix.IPPROTO_UDP}, {"tcp", unix.IPPROTO_TCP}}

// RulesetThrough returns the text of Table for Through: queries leave by the tunnel's device only.
func RulesetThrough(device string) string {
	return ruleset(fmt.Sprintf("\t\toifname %q accept\n", device))
}
