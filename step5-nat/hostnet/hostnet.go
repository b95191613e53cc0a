// Package hostnet answers what both ends of the tunnel ask about the host
// before they change anything: may this program do it, which way out does the
// host have, and is the tunnel's subnet free?
//
// Introduced in step 5.
//
// It only looks. All functions may be called from any goroutine, and see the
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

// A Family is an address family, as the kernel numbers them. A host has each of
// its routes, rules and firewalls twice, once for each.
type Family int

const (
	V4 Family = unix.AF_INET
	V6 Family = unix.AF_INET6
)

// Families lists both.
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

// Subnets returns the subnets of the family that the addresses stand in:
// 10.8.0.0/24 for 10.8.0.1/24.
func (f Family) Subnets(addrs []netip.Prefix) []netip.Prefix {
	var subnets []netip.Prefix
	for _, a := range addrs {
		if FamilyOf(a.Addr()) == f {
			subnets = append(subnets, a.Masked())
		}
	}
	return subnets
}

// Off reports whether the kernel runs without the family, as it does for IPv6
// after a boot with ipv6.disable=1.
func (f Family) Off() bool {
	_, err := os.Stat("/proc/net/if_inet6")
	return f == V6 && errors.Is(err, os.ErrNotExist)
}

// MayChange returns an error unless this program may change the host's network:
// it takes root, or the capability CAP_NET_ADMIN.
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

// NeedsRoot adds the hint that belongs to every such error.
func NeedsRoot(err error) error {
	return app.Hint(err, "Run it as root, for example with sudo.")
}
