package lan

import (
	"fmt"
	"net/netip"
	"stepvpn/step5-nat/hostnet"
	"stepvpn/step6-dns/nft"
	"strings"
)

// This file makes the table stepvpn_lan: it drops packets that the local network sends to the
// tunnel's addresses, and name lookups on the link.

// LLMNR (RFC 4795) and NetBIOS (RFC 1002) look up names on the link. Unlike mDNS names,
// these may be names of the internet.
const (
	llmnr   = 5355
	netbios = 137
)

// Names returns nft rules that drop such queries on the link, and the answers to them.
func Names() []string {
	return []string{
		fmt.Sprintf("meta l4proto { tcp, udp } th dport { %d, %d } drop", llmnr, netbios),
		fmt.Sprintf("meta l4proto { tcp, udp } th sport %d drop", llmnr),
	}
}

// OurTable is the name of Ruleset's table. It is there while there is a tunnel, with or
// without a kill switch.
const OurTable nft.Table = "inet stepvpn_lan"

// Ruleset returns the table as a person would type it.
//
// Linux answers for each of its addresses on every interface. So a host of the local
// network that guesses the tunnel's address could find out whether a connection goes
// through the tunnel, and inject packets into it (CVE-2019-14899). The table drops such
// packets before conntrack takes them for a part of that connection.
//
// If names is true, the table also drops name lookups on the link (see Names).
func Ruleset(device string, addrs []netip.Prefix, names bool) string {
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
	link := ""
	if names {
		link = "\t\t" + strings.Join(Names(), "\n\t\t") + "\n"
	}
	return fmt.Sprintf(`table %s {
	chain injected {
		type filter hook prerouting priority -300
%s	}
	chain link {
		oifname { "lo", %q } accept
%s	}
	chain output {
		type filter hook output priority 0
		jump link
	}
	chain forward {
		type filter hook forward priority 0
		jump link
	}
}
`, OurTable, b.String(), device, link)
}
