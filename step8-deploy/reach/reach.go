// Package reach limits what the clients of a server can reach on its own host, and how many
// connections one client may have. Introduced in step 8.
//
// Step 5's gateway handles forwarded packets. It does not see packets that a client sends to
// the host itself: to any of its addresses, and so to a database that listens at an address
// of the local network; to containers that the host forwards ports to; and, if the kernel
// was told so (route_localnet), to services at 127.0.0.1, which trust everybody who reaches
// them. And in a cloud, anybody who can send to 169.254.169.254 from the host gets the
// host's credentials.
//
// The limits are in an nft table beside those of others: what it drops stays dropped,
// whatever ufw or Docker accept; what it lets through is for the other tables to decide.
package reach

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step6-dns/nft"
	"stepvpn/step8-deploy/lan"
	"stepvpn/step8-deploy/reconcile"
)

// An Opening is a part of the server's host that clients can reach. The zero value is all of
// it.
type Opening struct {
	Protocol string     // "tcp" or "udp"; "" stands for both
	Addr     netip.Addr // the zero value stands for any of the server's addresses
	Port     uint16     // 0 stands for all
}

// Everything is the word for the zero Opening.
const Everything = "server"

// Parse reads "server", "tcp:PORT", "udp:PORT" or "ADDRESS:PORT".
func Parse(s string) (o Opening, err error) {
	if s == Everything {
		return o, nil
	}
	protocol, port, _ := strings.Cut(s, ":")
	if protocol == "tcp" || protocol == "udp" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return o, errors.New("does not end in a port")
		}
		return Opening{Protocol: protocol, Port: uint16(n)}, nil
	}
	at, err := netip.ParseAddrPort(s)
	switch addr := at.Addr().Unmap(); {
	case err != nil, addr.Zone() != "":
		return o, errors.New("is neither an address with a port nor a protocol with one")
	case at.Port() == 0:
		return o, errors.New("has the port 0")
	case addr.IsUnspecified() || addr.IsMulticast():
		return o, errors.New("is at no address of a host")
	default:
		for _, n := range never {
			if n.Contains(addr) {
				return o, fmt.Errorf("is in %v, which clients never reach", n)
			}
		}
		return Opening{Addr: addr, Port: at.Port()}, nil
	}
}

// never lists what clients can't reach, whatever is open: the host's loopback (RFC 1122,
// section 3.2.1.3), link-local addresses (RFC 3927, RFC 4291), and the addresses at which
// clouds tell a host what only that host may know.
var never = prefixes("127.0.0.0/8", "169.254.0.0/16", "::1/128", "::ffff:0:0/96", "fe80::/10",
	"100.100.100.200/32",     // Alibaba
	"168.63.129.16/32",       // Azure, WireServer
	"192.0.0.192/32",         // Oracle
	"fd00:c1::a9fe:a9fe/128", // Oracle
	"fd00:ec2::/32",          // Amazon
	"fd20:ce::254/128",       // Google
	"fd00:42::42/128",        // Scaleway
	"64:ff9b::a9fe:0/112",    // 169.254.0.0/16 by way of NAT64 (RFC 6052)
)

func prefixes(list ...string) (all []netip.Prefix) {
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// A Config says what clients can reach.
type Config struct {
	Device string       // the tunnel's
	Addrs  []netip.Addr // the server's addresses in the tunnel, at which it answers DNS

	// Open lists what clients can reach on the server, besides DNS and ping. nil means all
	// of it; an empty list means nothing.
	Open []Opening

	// Flows is how many connections the kernel tracks for each address of a client.
	Flows int
}

// Name returns the name of a device's table. (It encodes characters that a device's name may
// have and an nft name may not.)
func Name(device string) nft.Table {
	var b strings.Builder
	for _, c := range []byte(device) {
		if '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return nft.Table("inet stepvpn_reach_" + b.String())
}

// Flows returns how many connections each address of a client may have, if the kernel tracks
// at most this many in total: half of them are for the clients. Each client has an equal
// share of that, but at least what a host with a browser needs.
func Flows(most, clients int) int { return min(max(most/2/max(clients, 1), 256), 4096) }

// maxCounted is the largest number of addresses whose connections are counted: as many as
// the pool leases of one family.
const maxCounted = 1 << 16

// Table returns the table.
//
// Packets to what clients can never reach are dropped before their address is translated,
// and again afterwards. If a port of the server is forwarded, as Docker does, the target
// counts as the server: then the packet's original destination decides, which conntrack
// remembers.
func (c Config) Table() reconcile.Table {
	var b strings.Builder
	fmt.Fprintf(&b, `table %[1]s {
	set flows4 { type ipv4_addr; size %[2]d; flags dynamic; }
	set flows6 { type ipv6_addr; size %[2]d; flags dynamic; }
	chain never {
`, Name(c.Device), maxCounted)
	for _, f := range hostnet.Families {
		fmt.Fprintf(&b, "\t\t%s daddr { %s } counter drop\n", lan.Word(f), lan.Elements(f.Subnets(never)))
	}
	fmt.Fprintf(&b, `	}
	chain arrived {
		type filter hook prerouting priority -300
		iifname %[1]q jump never
	}
	chain flows {
		type filter hook prerouting priority -150
		iifname %[1]q ct state new jump counted
	}
	chain counted {
		add @flows4 { ip saddr ct count over %[2]d } counter drop
		add @flows6 { ip6 saddr ct count over %[2]d } counter drop
	}
`, c.Device, c.Flows)
	asked, translated := c.server()
	fmt.Fprintf(&b, `	chain asked {
%[2]s	}
	chain translated {
%[3]s	}
	chain input {
		type filter hook input priority -1
		iifname %[1]q ct status dnat ct direction original goto translated
		iifname %[1]q goto asked
	}
	chain forward {
		type filter hook forward priority -1
		iifname %[1]q jump never
		iifname %[1]q ct status dnat ct direction original goto translated
	}
}
`, c.Device, asked, translated)
	return reconcile.Table{Name: Name(c.Device), Text: b.String()}
}

// server returns the rules about packets to the server itself: for packets as they are, and
// for those whose destination has been translated.
func (c Config) server() (asked, translated string) {
	var plain, before strings.Builder
	accept := func(protocol string, addr netip.Addr, port uint16) {
		at := ""
		if addr.IsValid() {
			at = lan.Word(hostnet.FamilyOf(addr)) + " daddr " + addr.String() + " "
		}
		for _, p := range []string{"tcp", "udp"} {
			if protocol != "" && protocol != p {
				continue
			}
			fmt.Fprintf(&plain, "\t\t%s%s dport %d accept\n", at, p, port)
			if at != "" {
				fmt.Fprintf(&before, "\t\tmeta l4proto %s ct original %sct original proto-dst %d accept\n", p, at, port)
			} else {
				fmt.Fprintf(&before, "\t\tmeta l4proto %s ct original proto-dst %d accept\n", p, port)
			}
		}
	}
	for _, o := range c.Open {
		if o == (Opening{}) {
			return "", ""
		}
	}
	if c.Open == nil {
		return "", ""
	}
	// Accept answers to what the server has sent, and errors about it.
	plain.WriteString(`		ct direction reply accept
		icmp type { echo-request, destination-unreachable, time-exceeded, parameter-problem } accept
		icmpv6 type { echo-request, destination-unreachable, packet-too-big, time-exceeded, parameter-problem } accept
`)
	before.WriteString(`		icmp type echo-request accept
		icmpv6 type echo-request accept
`)
	for _, a := range c.Addrs {
		accept("", a, dnsPort)
	}
	// An operator may redirect all of the clients' queries to another resolver.
	for _, p := range []string{"tcp", "udp"} {
		fmt.Fprintf(&before, "\t\tmeta l4proto %s ct original proto-dst %d accept\n", p, dnsPort)
	}
	for _, o := range c.Open {
		accept(o.Protocol, o.Addr, o.Port)
	}
	const refuse = "\t\tcounter reject with icmpx admin-prohibited\n"
	return plain.String() + refuse, before.String() + refuse
}

// dnsPort is the port of DNS (RFC 1035, section 4.2).
const dnsPort = 53

// String returns the text that Parse reads.
func (o Opening) String() string {
	switch {
	case o == Opening{}:
		return Everything
	case o.Addr.IsValid():
		return netip.AddrPortFrom(o.Addr, o.Port).String()
	}
	return fmt.Sprintf("%s:%d", cmp.Or(o.Protocol, "tcp"), o.Port)
}
