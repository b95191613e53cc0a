// Package route makes the tunnel the way out for everything that this host
// sends. Introduced in step 5.
//
// The host's own routes stay as they are. A second routing table gets a default
// route into the tunnel, and policy rules (ip-rule(8)) say who looks into which
// table. What a person would type, and the log repeats:
//
//	ip -4 route add default dev vpn0 table 22505
//	ip -4 rule add priority 22504 lookup main suppress_prefixlength 0
//	ip -4 rule add priority 22505 not fwmark 22505 lookup 22505
//
// and the same three with -6. The kernel asks the rules in order of priority:
//
//	0      the host's own addresses and broadcasts, as ever
//	22504  the main table, but not its default route: what is on the local
//	       network, or has a route of its own, goes there directly
//	22505  everything else goes into the tunnel, unless it carries the mark
//	32766  the main table with its default route: for what carries the mark
//
// Only the tunnel's own socket carries the mark (see Mark). It must not go
// through the tunnel: its packets are the tunnel.
//
// A family of addresses that the tunnel does not carry is refused at once, so
// that programs turn to the other one and nothing leaves in the clear:
//
//	ip -6 rule add priority 22505 not fwmark 22505 unreachable
//
// A host that checks where packets come from (rp_filter=1, RFC 3704 section
// 2.2) asks the rules also about the server's answers. They carry no mark, so
// they would seem to belong into the tunnel, and be dropped. The same goes for a
// loose check (rp_filter=2) where the tunnel carries no IPv4: there would seem to
// be no way back at all. Such a host gets one more rule:
//
//	ip -4 rule add priority 22503 to 203.0.113.10 ipproto udp dport 5555 lookup main
//
// The alternatives are a looser rp_filter, or a firewall rule that gives the
// answers the mark. The rule changes neither settings nor firewall. It takes
// Linux 5.4, where the check began to look at ports the right way round.
//
// # What is not covered
//
// There is no kill switch: when the tunnel's device goes, the host uses its own
// way out again. Rules that another program removes are not put back;
// systemd-networkd does that when it restarts, unless it is told otherwise
// (ManageForeignRoutingPolicyRules=no).
//
// A program that ties its socket to an interface (SO_BINDTODEVICE) or sets the
// mark itself gets around the tunnel; DHCP clients do, and should. A connection
// that was open before keeps its old source address; the server drops that.
// Who connects to this host from beyond the local network gets no answer: it
// would go into the tunnel. Multicast and 255.255.255.255 follow the default
// route into the tunnel if the sender names no interface; the local network's
// own broadcast address stays local.
//
// The local network is believed. Its DHCP server may hand out routes (option
// 121), and those go outside of the tunnel like any other route of the main table
// (CVE-2024-3661). Its hosts can send to the tunnel's address; a strict
// rp_filter keeps out those who do so under a forged source (CVE-2019-14899).
package route

import (
	"log/slog"
	"net/netip"
	"sync"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
)

// One number for all, 22505 or 0x57e9, which no other program is known to use.
const (
	FwMark = 22505 // the mark (SO_MARK) of the socket to the server
	Table  = 22505 // the routing table that leads into the tunnel
)

// Priorities of the rules. Lower is asked first; the main table's is 32766. All
// from PriorityFirst to PriorityTunnel are ours: a package that adds rules before
// these has room for them, and Recover removes them too. Rules that are to stay have
// a higher priority, and policy.MadeBy as their protocol.
const (
	PriorityFirst   = 22500
	priorityAnswers = 22503 // the server's answers, where rp_filter is strict
	PriorityLocal   = 22504 // the local network
	PriorityTunnel  = 22505 // everything that is not marked
)

// A Config says what to send where. Device, Addrs and Server are required.
type Config struct {
	// Device is the TUN device: its name, such as "vpn0". It must be up.
	Device string

	// Addrs are the device's addresses. A family with an address there goes
	// through the tunnel; the other one is refused.
	Addrs []netip.Prefix

	// Network and Server say where the tunnel's own packets go: "udp" or "tcp",
	// and the server's address. Without a Network the caller sees to it himself
	// that the answers get in.
	Network string
	Server  netip.AddrPort
}

// Default sends everything through the tunnel. The function that it returns
// takes that back; it may be called more than once. If Default fails, the host
// is as it was.
//
// When this program is killed the device goes, and the route with it: the host
// is back on its own default route. The rules stay without effect, except that
// a refused family stays refused. The next Default removes them, whatever its
// Config; until then, "ip -6 rule del priority 22505" does.
func Default(c Config) (undo func() error, err error) {
	c.Server = netip.AddrPortFrom(c.Server.Addr().Unmap(), c.Server.Port())
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := Prepare(c.Device, c.Server.Addr()); err != nil {
		return nil, err
	}
	back, err := policy.CarryOut(c.changes(), slog.Info)
	if err != nil {
		return nil, err
	}
	return sync.OnceValue(func() error {
		err := back()
		if err == nil {
			slog.Info("routes: as they were")
		}
		return err
	}), nil
}

// Prepare makes ready for routes and rules that send what this host sends into the
// device: it removes what a killed client left, and refuses what would leave the host
// cut off. Default begins with it.
func Prepare(device string, server netip.Addr) error {
	if err := CheckWay(device, server); err != nil {
		return err
	}
	return removeStale(device)
}

// Recover removes what a killed client left: rules without effect, and those that
// refuse. It is an error if a client runs that uses the device, or another one.
func Recover() error {
	if err := hostnet.MayChange(); err != nil {
		return err
	}
	return removeStale("")
}

// changes lists what Default carries out, in order. The local network comes before the
// tunnel, so that it is reachable all the time.
func (c *Config) changes() []policy.Change {
	var list []policy.Change
	for _, f := range hostnet.Families {
		if f.Off() {
			continue // nothing to send, nothing to refuse
		}
		carried := len(f.Subnets(c.Addrs)) > 0
		if carried {
			list = append(list, policy.AddRoute(policy.Everything(f), c.Device, Table))
		}
		if c.Network != "" && f == hostnet.V4 && hostnet.FamilyOf(c.Server.Addr()) == f && (strictReversePath() || !carried) {
			list = append(list, answers(c.Network, c.Server).Add())
		}
		list = append(list, Local(f, PriorityLocal).Add(), Tunnel(f, carried).Add())
	}
	return list
}
