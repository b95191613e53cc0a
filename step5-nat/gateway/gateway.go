// Package gateway makes this host the way out for the clients of the tunnel: it
// forwards their packets, and lends them its own address. Introduced in step 5.
//
// For clients of 10.8.0.0/24 on the device vpn0 and a host that reaches the
// internet by eth0, a person would type
//
//	sysctl -w net.ipv4.ip_forward=1
//	iptables -t nat    -A POSTROUTING -s 10.8.0.0/24 -o eth0 -j MASQUERADE
//	iptables           -A FORWARD -i vpn0 -o eth0 -j ACCEPT
//	iptables           -A FORWARD -o vpn0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
//	iptables -t mangle -A FORWARD -o vpn0 -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
//
// and the same with ip6tables and net.ipv6.conf.all.forwarding. That is what
// Enable does, with some more rules for safety: nobody starts a connection to a
// client from outside, a client reaches nothing but the egress interface and
// this host, and it cannot send under an address that is not of the tunnel. The
// rules stand in chains of our own (firewall.go), which come first and are
// removed whole. The log repeats each command at debug level.
//
// # What is not covered
//
// Another firewall on the host still has its say: what a rule of nftables or
// firewalld drops stays dropped, whatever iptables accepts. iptables-nft keeps
// the tables that it had to make, empty. Whoever starts to rely on forwarding
// while the gateway runs must turn it on for themselves, or it is turned off
// with the gateway. Where a host's own default route is another tunnel by policy
// routing (see package route), that tunnel's device must be named as the egress.
package gateway

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"stepvpn/step5-nat/hostnet"
)

// A Config says whose packets go where.
type Config struct {
	// Device is the name of the tunnel's device, such as "vpn0". It must exist.
	Device string

	// Addrs are the device's addresses. The clients have the other addresses of
	// the same subnets: 10.8.0.0/24 for 10.8.0.1/24.
	Addrs []netip.Prefix

	// Egress is the interface by which clients leave, such as "eth0". Empty stands for
	// those of the host's default routes, for each family of addresses on its own. A
	// family without one is not forwarded, and a warning says so; it is an error if
	// that leaves none.
	Egress string

	// Sysctls are more settings of the kernel that are to hold meanwhile, by their
	// paths below /proc/sys. They are set first, and put back with the others; one
	// that this kernel does not have is left out. See settable for those that can be.
	Sysctls map[string]string
}

// Enable starts to forward. The function that it returns puts the host back as it was; it
// may be called more than once. If Enable fails, nothing is left behind.
//
// When this program is killed, chains and settings stay. Without the device they have no
// effect on other traffic, except that the host still forwards. The next Enable on this
// host, whatever its Config, takes over what it needs of them, so that connections go on,
// and puts the rest back. Several programs may each Enable their own device: settings go
// back when the last one ends.
func Enable(c Config) (undo func() error, err error) {
	egress, err := c.ways()
	if err != nil {
		return nil, err
	}
	return EnableBy(c, egress)
}

// EnableBy is Enable where clients of each family leave by several interfaces, or none.
func EnableBy(c Config, egress map[hostnet.Family][]string) (undo func() error, err error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	firewalls, err := c.plan(egress)
	if err != nil {
		return nil, err
	}

	// The firewall comes first and goes last: nothing is forwarded past it.
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
		if err := w.build(); err != nil {
			return nil, errors.Join(err, undo())
		}
	}
	if err := startForwarding(c, firewalls); err != nil {
		return nil, errors.Join(err, undo())
	}
	steps = append(steps, func() error { return stopForwarding(c.Device) })
	return undo, nil
}
