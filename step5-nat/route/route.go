// Package route makes the tunnel the way out for all packets of this host, except those to
// its local network and the tunnel's own. Introduced in step 5.
//
// The host's own routes stay as they are. A second routing table gets a default
// route into the tunnel, and policy rules (ip-rule(8)) decide which packets are routed
// by which table. A person would type these commands, and the log repeats them:
//
//	ip -4 route add default dev vpn0 table 22505
//	ip -4 rule add priority 22504 lookup main suppress_prefixlength 0
//	ip -4 rule add priority 22505 not fwmark 22505 lookup 22505
//
// and the same three with -6. The kernel tries the rules in order of priority:
//
//	0      the host's own addresses and broadcasts, as always
//	22504  the main table, but not its default route: packets to the local network,
//	       or to a network with a route of its own, go there directly
//	22505  all other packets go into the tunnel, unless they carry the mark
//	32766  the main table with its default route, for packets that carry the mark
//
// Only packets of the tunnel's own socket carry the mark (see Mark). They must not be
// routed into the tunnel, because they are what the tunnel consists of: each would be put
// into another one, without end.
//
// Packets of an address family that the tunnel does not carry are refused at once, so
// that programs use the other family instead of leaving past the tunnel:
//
//	ip -6 rule add priority 22505 not fwmark 22505 unreachable
//
// A host with a strict reverse-path check (rp_filter=1, RFC 3704 section 2.2) accepts a
// packet only from the interface by which it would route an answer. The server's packets
// carry no mark, so an answer to them would be routed into the tunnel, and they would be
// dropped. A loose check (rp_filter=2) drops them, too, if the tunnel carries no IPv4:
// then there seems to be no route for an answer at all. So there is one more rule if any
// interface has a strict check, or if the tunnel carries no IPv4:
//
//	ip -4 rule add priority 22503 to 203.0.113.10 ipproto udp dport 5555 lookup main
//
// The alternatives are a looser rp_filter, or a firewall rule that gives the server's
// packets the mark. A policy rule changes neither settings nor firewall. It requires Linux
// 5.4, the first version whose check does not take the source port for the destination port.
//
// # What is not covered
//
// There is no kill switch: when the tunnel's device is gone, the host uses its own
// default route again. If another program removes the rules, they are not restored.
// systemd-networkd removes them when it restarts, unless it is told not to
// (ManageForeignRoutingPolicyRules=no).
//
// A program that binds its socket to an interface (SO_BINDTODEVICE) or sets the mark
// itself bypasses the tunnel; DHCP clients do so, and should. A connection that was open
// before keeps its old source address, and the server drops its packets. A host beyond
// the local network that connects to this one gets no answer: the answer goes into the
// tunnel. Multicast and packets to 255.255.255.255 follow the default route into the
// tunnel if the sender names no interface; the local network's own broadcast address
// stays local.
//
// The local network is trusted. Its DHCP server may hand out routes (option 121), and
// packets that follow them bypass the tunnel, as with any other route of the main table
// (CVE-2024-3661). Its hosts can send packets to the tunnel's address; a strict rp_filter
// drops those with a forged source address (CVE-2019-14899).
package route

import (
	"log/slog"
	"net/netip"
	"sync"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
)

// The same number, 22505 or 0x57e9, serves as mark, table and priority. No other program
// is known to use it.
const (
	FwMark = 22505 // the mark (SO_MARK) of the socket to the server
	Table  = 22505 // the routing table that leads into the tunnel
)

// Priorities of the rules. The kernel tries lower ones first; the main table's rule has
// 32766. All from PriorityFirst to PriorityTunnel are ours: other packages may add rules
// before the ones below, and Recover removes those, too. A rule that must survive Recover
// needs a higher number, and policy.MadeBy as its protocol.
const (
	PriorityFirst   = 22500
	priorityAnswers = 22503 // the server, for the reverse-path check
	PriorityLocal   = 22504 // the local network
	PriorityTunnel  = 22505 // everything that is not marked
)

// A Config describes the tunnel. Device, Addrs and Server are required.
type Config struct {
	// Device is the TUN device: its name, such as "vpn0". It must be up.
	Device string

	// Addrs are the device's addresses. Packets of a family with an address here go
	// through the tunnel; packets of the other one are refused.
	Addrs []netip.Prefix

	// Network and Server say where the tunnel's own packets go: "udp" or "tcp", and
	// the server's address. Without a Network, the caller must make sure that the
	// server's packets pass the reverse-path check: step 6's package guard does.
	Network string
	Server  netip.AddrPort
}

// Default routes this host's packets through the tunnel, except those to its local network
// and those with the mark. The function that
// it returns undoes that; it may be called more than once. If Default fails, the host is
// as it was before.
//
// If this program is killed, the device vanishes, and the route with it: the host uses its
// own default route again. The rules remain but have no effect, except that a refused
// family stays refused. The next Default removes them, whatever its Config; until then,
// "ip -6 rule del priority 22505" ends the refusal of IPv6.
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
			slog.Info("routes: restored")
		}
		return err
	}), nil
}

// Prepare prepares for routes and rules that send this host's traffic into the device: it
// returns an error if there is no route to the server outside of the tunnel (CheckWay), and
// removes what a killed client left (removeStale knows it by policy.MadeBy). Default begins
// with it; step 8, which keeps its own list of routes and rules, calls it alone.
func Prepare(device string, server netip.Addr) error {
	if err := CheckWay(device, server); err != nil {
		return err
	}
	return removeStale(device)
}

// Recover removes the rules that a killed client left: those without effect, and those
// that refuse a family. It returns an error if a client is running, whatever its device.
// From step 6 on, clients call it.
func Recover() error {
	if err := hostnet.MayChange(); err != nil {
		return err
	}
	return removeStale("")
}

// changes lists the changes that Default carries out, in order. The local network's rule
// comes before the tunnel's, so that the network stays reachable all the time.
func (c *Config) changes() []policy.Change {
	var list []policy.Change
	for _, f := range hostnet.Families {
		if f.Off() {
			continue // the kernel runs without it: nothing to send, nothing to refuse
		}
		carried := len(f.Subnets(c.Addrs)) > 0 // the tunnel has an address of the family
		if carried {
			list = append(list, policy.AddRoute(policy.Everything(f), c.Device, Table)) // a default route
		}
		if c.Network != "" && f == hostnet.V4 && hostnet.FamilyOf(c.Server.Addr()) == f && (strictReversePath() || !carried) {
			list = append(list, answers(c.Network, c.Server).Add())
		}
		list = append(list, Local(f, PriorityLocal).Add(), Tunnel(f, carried).Add())
	}
	return list
}
