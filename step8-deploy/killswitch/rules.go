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

// rules returns the policy rules that close the switch, of both families, by their priorities
// (ruleset, below, returns the firewall's): guard.Own for the client's own socket; guard.Refuse
// for names (Names); the tunnel's own networks are unreachable; what is local (LAN.Rules, with
// table 0: there is no tunnel) goes where the main table says; and all else is unreachable,
// or, if the tunnel is for some networks (Only), these are.
//
//exercise:3
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

// away returns the rules of the chain for packets that are to leave by any other interface
// than the tunnel's device, one a line, as a person would type them. The first that fits
// decides. Refused are queries for names (Names) to any host, and packets to the tunnel's own
// networks, which must not be looked for elsewhere. Accepted is what is local (LAN), and what
// is not for the tunnel (Only), in each family. All else is refused: with an error that says
// that there is no route, and no TCP reset, as a connection may go on when the tunnel is back.
//
//exercise:3
func (c Config) away(local lan.Networks) (list []string) {
	if c.Names {
		list = append(list, fmt.Sprintf("meta l4proto { tcp, udp } th dport { %d, %d } reject with icmpx type admin-prohibited", dns, dnsOverTLS))
		list = append(list, lan.Names()...)
	}
	for _, f := range hostnet.Families {
		if set := lan.Elements(f.Subnets(c.Tunnel)); set != "" {
			list = append(list, fmt.Sprintf("%s daddr { %s } reject with icmpx type no-route", lan.Word(f), set))
		}
	}
	list = append(list, c.LAN.Accept(c.believed(local))...)
	if c.Only != nil {
		for _, f := range hostnet.Families {
			if only := lan.Elements(f.Subnets(c.Only)); only != "" {
				list = append(list, fmt.Sprintf("%s daddr != { %s } accept", lan.Word(f), only))
			} else {
				list = append(list, fmt.Sprintf("meta nfproto %s accept", strings.ToLower(f.String())))
			}
		}
	}
	return append(list, "reject with icmpx type no-route")
}

// ruleset returns the table as a person would type it. It sees packets that leave after the
// kernel has chosen their route.
func (c Config) ruleset(table nft.Table, local lan.Networks) string {
	lines := func(list []string) string { return "\t\t" + strings.Join(list, "\n\t\t") }
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
%s
	}
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
`, table, flags, device, route.FwMark, pauseMark, lines(lan.Own()), lines(c.away(local)))
}
