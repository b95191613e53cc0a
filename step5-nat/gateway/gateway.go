// Package gateway makes this host the clients' way to the internet: it forwards their
// packets, under its own address (NAT). Introduced in step 5.
//
// For clients of 10.8.0.0/24 on the device vpn0 and a host that reaches the
// internet by eth0, a person would type
//
//	iptables -t mangle -A FORWARD -o vpn0 -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
//	iptables           -A FORWARD -i vpn0 -o eth0 -j ACCEPT
//	iptables           -A FORWARD -o vpn0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
//	iptables -t nat    -A POSTROUTING -s 10.8.0.0/24 -o eth0 -j MASQUERADE
//	sysctl -w net.ipv4.ip_forward=1
//
// and the same with ip6tables and net.ipv6.conf.all.forwarding. That is the idea. Enable
// also clamps the MSS in the other direction, and has more rules for safety: nobody outside
// can open a connection to a client, a client can reach only this host and hosts beyond the
// egress interface, and it cannot send from an address outside of the tunnel's subnets. The
// rules are in chains of our own, which come first and are removed as a whole: firewall.go
// has them in the order in which a packet passes them. At debug level, the log has each
// command.
//
// # What is not covered
//
// Another firewall on the host still applies: a packet that a rule of nftables or
// firewalld drops stays dropped, whatever iptables accepts. iptables-nft leaves behind the
// tables that it had to make, empty. Another program that comes to rely on forwarding while
// the gateway runs loses it when the gateway stops, and must turn it on itself. Where
// policy routing (see package route) sends a host's own traffic into another tunnel, that
// tunnel's device must be named as the egress.
package gateway

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"stepvpn/step5-nat/hostnet"
)

// A Config says which clients are served, and by which interface their packets leave.
type Config struct {
	// Device is the name of the tunnel's device, such as "vpn0". It must exist.
	Device string

	// Addrs are the device's addresses. The clients have the other addresses of
	// the same subnets: 10.8.0.0/24 for 10.8.0.1/24.
	Addrs []netip.Prefix

	// Egress is the interface by which clients' packets leave, such as "eth0". If it is
	// empty, they leave by the interfaces of the host's default routes, separately for
	// IPv4 and IPv6. A family without a default route is not forwarded, and a warning
	// says so; if neither family has one, that is an error.
	Egress string

	// Sysctls are further kernel settings for the time that the gateway runs, by their
	// paths below /proc/sys. They are set before forwarding is, and restored with it. One
	// that this kernel does not have is skipped. settable (statefile.go) lists the allowed.
	// Step 8 makes room for the connections of many clients with them.
	Sysctls map[string]string
}

// Enable starts to forward. The function that it returns restores the host; it may be
// called more than once. If Enable fails, nothing is left behind.
//
// If this program is killed, its chains and settings remain. Without the device they have
// no effect on other traffic, except that the host still forwards. The next Enable on this
// host, whatever its Config, takes over those that it needs, so that connections survive,
// and undoes the rest. Several programs may each Enable their own device: the settings are
// restored when the last one ends.
func Enable(c Config) (undo func() error, err error) {
	egress, err := c.ways() // c.Egress, or the interfaces of the default routes
	if err != nil {
		return nil, err
	}
	return EnableBy(c, egress)
}

// EnableBy is Enable for a caller that chooses, for each address family, the interfaces by
// which clients' packets leave. There may be several, or none. Step 8 calls it anew when
// the host's routes change.
func EnableBy(c Config, egress map[hostnet.Family][]string) (undo func() error, err error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	firewalls, err := c.plan(egress) // one for each address family; nothing is changed yet
	if err != nil {
		return nil, err
	}

	// The firewall is built first and removed last, so that nothing is forwarded past it.
	var steps []func() error
	undo = sync.OnceValue(func() (err error) {
		slog.Info("gateway: putting the host back as it was")
		for _, step := range slices.Backward(steps) {
			err = errors.Join(err, step())
		}
		return err
	})
	for _, w := range firewalls {
		steps = append(steps, w.remove)
		if err := w.build(); err != nil { // makes w.chains by iptables
			return nil, errors.Join(err, undo())
		}
	}
	if err := startForwarding(c, firewalls); err != nil { // the sysctls; their old values go into a file
		return nil, errors.Join(err, undo())
	}
	steps = append(steps, func() error { return stopForwarding(c.Device) })
	return undo, nil
}
