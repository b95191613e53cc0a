// Package hostnet answers the questions that both ends of the tunnel have about the
// host before they change anything: may this program change it, which default routes
// does it have, and is the tunnel's subnet free?
//
// Introduced in step 5. This file has the address families and the permission, routes.go the
// default routes, and overlap.go the subnet.
//
// It changes nothing. All functions may be called from any goroutine, and see the
// network namespace of the thread that they run on.
package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
)

// A Family is an address family, with the kernel's number for it. Each has its own
// routes, rules and firewall.
type Family int

const (
	V4 Family = unix.AF_INET
	V6 Family = unix.AF_INET6
)

// Families lists both address families.
var Families = []Family{V4, V6}

// String returns "IPv4" or "IPv6".
func (f Family) String() string {
	if f == V6 {
		return "IPv6"
	}
	return "IPv4"
}

// FamilyOf returns the family that a belongs to.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return V4
	}
	return V6
}

// Subnets returns the subnets of those addresses that belong to the family: 10.8.0.0/24
// for 10.8.0.1/24.
func (f Family) Subnets(addrs []netip.Prefix) []netip.Prefix {
	var subnets []netip.Prefix
	for _, a := range addrs {
		if FamilyOf(a.Addr()) == f {
			subnets = append(subnets, a.Masked())
		}
	}
	return subnets
}

// Off reports whether the kernel runs without the family: without IPv6, for example,
// after a boot with ipv6.disable=1.
func (f Family) Off() bool {
	_, err := os.Stat("/proc/net/if_inet6")
	return f == V6 && errors.Is(err, os.ErrNotExist)
}

// MayChange returns an error, with a hint, unless this program may change the host's
// network, which requires root or the capability CAP_NET_ADMIN.
func MayChange() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData // capabilities 0 to 31, and 32 to 63
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	if sets[0].Effective&(1<<unix.CAP_NET_ADMIN) == 0 {
		return NeedsRoot(errors.New("no permission to change this host's network"))
	}
	return nil
}

// NeedsRoot adds to err the hint to run the program as root.
func NeedsRoot(err error) error {
	return app.Hint(err, "Run it as root, for example with sudo.")
}
