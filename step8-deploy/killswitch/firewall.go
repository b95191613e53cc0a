package killswitch

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/guard"
)

const table guard.Table = "inet stepvpn_killswitch"

// What never leaves the wire that it is sent on: link-local addresses, multicast
// groups and broadcasts (RFC 3927, RFC 5771, RFC 919, RFC 4291). DHCP and IPv6
// neighbour discovery live from them.
var onLink = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/24"), netip.MustParsePrefix("255.255.255.255/32"),
	netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff02::/16"),
}

// firewall makes our table.
func (c Config) firewall() policy.Change {
	return policy.Change{
		Command: "nft add table " + string(table),
		Do: func() error {
			local, err := c.local()
			if err != nil {
				return err
			}
			return table.Set(c.ruleset(local))
		},
		Undo: table.Remove,
	}
}

// local lists the networks that this host reaches other than by its default route,
// or by the tunnel.
func (c Config) local() ([]netip.Prefix, error) {
	list := slices.Clone(onLink)
	for _, f := range hostnet.Families {
		routes, err := hostnet.Routes(f, unix.RT_TABLE_MAIN)
		if err != nil {
			return nil, err
		}
		for _, r := range routes {
			if r.Dst == nil || r.Type != unix.RTN_UNICAST {
				continue
			}
			a, ok := netip.AddrFromSlice(r.Dst.IP)
			bits, _ := r.Dst.Mask.Size()
			if ok && bits > 0 {
				list = append(list, netip.PrefixFrom(a.Unmap(), bits))
			}
		}
	}
	return list, nil
}

// ruleset is the table as one would type it. What leaves is looked at after the
// kernel has chosen the way.
func (c Config) ruleset(local []netip.Prefix) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, "\t\t"+format+"\n", args...) }
	line("meta mark %d accept", route.FwMark)
	line(`oifname { "lo", %q } accept`, c.Device)
	if c.Names {
		line("meta l4proto { tcp, udp } th dport 53 reject with icmpx type admin-prohibited")
	}
	for _, f := range hostnet.Families {
		word := map[hostnet.Family]string{hostnet.V4: "ip", hostnet.V6: "ip6"}[f]
		if set := elements(f.Subnets(local)); set != "" {
			line("%s daddr { %s } accept", word, set)
		}
		switch only := elements(f.Subnets(c.Only)); {
		case c.Only == nil:
		case only == "":
			line("meta nfproto %s accept", map[hostnet.Family]string{hostnet.V4: "ipv4", hostnet.V6: "ipv6"}[f])
		default:
			line("%s daddr != { %s } accept", word, only)
		}
	}
	// No reset: a connection may go on when the tunnel is back.
	line("reject with icmpx type no-route")
	return fmt.Sprintf(`table %s {
	chain away {
%s	}
	chain output {
		type filter hook output priority 0
		jump away
	}
	chain forward {
		type filter hook forward priority 0
		jump away
	}
}
`, table, b.String())
}

// elements lists networks for a set of nft, where none may overlap another.
func elements(list []netip.Prefix) string {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b netip.Prefix) int { return a.Bits() - b.Bits() })
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
