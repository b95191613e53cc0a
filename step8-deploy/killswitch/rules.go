package killswitch

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/guard"
	"stepvpn/step6-dns/nft"
	"stepvpn/step8-deploy/lan"
)

// rules returns the policy rules that close the switch, of both families. (ruleset, below,
// returns the firewall's.)
func (c Config) rules(local lan.Networks) (list []policy.Rule) {
	for _, f := range hostnet.Families {
		list = append(list, guard.Own(f, priorityOwn))
		if c.Names {
			list = append(list, guard.Refuse(f, priorityNames)...)
		}
		list = append(list, unreachable(f, priorityTunnel, c.Tunnel)...)
		list = append(list, c.LAN.Rules(f, priorityLocal, 0, c.Only, c.believed(local))...)
		if c.Only == nil {
			list = append(list, policy.NewRefusal(f, priorityRest, unix.RTN_UNREACHABLE, "unreachable"))
		} else {
			list = append(list, unreachable(f, priorityRest, c.Only)...)
		}
	}
	return list
}

func isOurs(r netlink.Rule) bool { return r.Priority >= PriorityFirst && r.Priority <= PriorityLast }

// believed returns the networks that count as local: none, if the tunnel is for a list of
// networks only.
func (c Config) believed(n lan.Networks) lan.Networks {
	if c.Only != nil {
		return lan.Networks{}
	}
	return n
}

func unreachable(f hostnet.Family, priority int, networks []netip.Prefix) (list []policy.Rule) {
	for _, n := range f.Subnets(networks) {
		r := policy.NewRefusal(f, priority, unix.RTN_UNREACHABLE, fmt.Sprintf("to %v unreachable", n))
		r.To(n)
		list = append(list, r)
	}
	return list
}

// Ports of DNS and of DNS over TLS (RFC 1035, RFC 7858).
const (
	dns        = 53
	dnsOverTLS = 853
)

// ruleset returns the table as a person would type it. It sees packets that leave after the
// kernel has chosen their route.
func (c Config) ruleset(table nft.Table, local lan.Networks) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, "\t\t"+format+"\n", args...) }
	if c.Names {
		line("meta l4proto { tcp, udp } th dport { %d, %d } reject with icmpx type admin-prohibited", dns, dnsOverTLS)
		for _, rule := range lan.Names() {
			line("%s", rule)
		}
	}
	for _, f := range hostnet.Families {
		if set := lan.Elements(f.Subnets(c.Tunnel)); set != "" {
			line("%s daddr { %s } reject with icmpx type no-route", lan.Word(f), set)
		}
	}
	for _, rule := range c.LAN.Accept(c.believed(local)) {
		line("%s", rule)
	}
	if c.Only != nil {
		for _, f := range hostnet.Families {
			if only := lan.Elements(f.Subnets(c.Only)); only != "" {
				line("%s daddr != { %s } accept", lan.Word(f), only)
			} else {
				line("meta nfproto %s accept", strings.ToLower(f.String()))
			}
		}
	}
	// No TCP reset: a connection may go on when the tunnel is back.
	line("reject with icmpx type no-route")
	own := "\t\t" + strings.Join(lan.Own(), "\n\t\t")
	device := "" // first: each packet to the tunnel goes through this
	if c.Device != "" {
		device = fmt.Sprintf("\t\toifname %q accept\n", c.Device)
	}
	flags := ""
	if table == liveTable {
		flags = "\tflags owner\n"
	}
	return fmt.Sprintf(`table %s {
%s	chain tunnel {
%s		meta mark { %d, %d } accept
		oifname "lo" accept
	}
	chain own {
%s
	}
	chain away {
%s	}
	chain output {
		type filter hook output priority 0
		jump tunnel
		jump own
		jump away
	}
	chain forward {
		type filter hook forward priority 0
		jump tunnel
		jump away
	}
}
`, table, flags, device, route.FwMark, pauseMark, own, b.String())
}
