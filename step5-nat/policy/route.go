package policy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/hostnet"
)

// This file has AddRoute, the Change (with its undo) that makes a route into a device, and
// RemoveRoute, for what a killed program left. If the route has gone already, with its device,
// that is no error (see gone, change.go).

// Everything returns the destination of a default route.
func Everything(f hostnet.Family) netip.Prefix {
	if f == hostnet.V4 {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// AddRoute returns the Change that makes a route into a device, in a table.
func AddRoute(to netip.Prefix, device string, table int) Change {
	f := hostnet.FamilyOf(to.Addr())
	route := func(act func(*netlink.Route) error) func() error {
		return func() error {
			link, err := netlink.LinkByName(device)
			if errors.As(err, new(netlink.LinkNotFoundError)) {
				return unix.ENODEV
			} else if err != nil {
				return err
			}
			return act(&netlink.Route{
				Family:    int(f),
				LinkIndex: link.Attrs().Index,
				Dst:       &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())},
				Scope:     scope(f),
				Table:     table,
				Protocol:  MadeBy,
			})
		}
	}
	name := to.String()
	if to.Bits() == 0 {
		name = "default"
	}
	return Change{
		Command: fmt.Sprintf("%s route add %s dev %s table %d", IP(f), name, device, table),
		Do:      route(netlink.RouteAdd),
		Undo:    route(netlink.RouteDel),
	}
}

// RemoveRoute removes a route that a killed program left. It is no error if the route no
// longer exists.
func RemoveRoute(r netlink.Route) error {
	if err := netlink.RouteDel(&r); err != nil && !gone(err) {
		return err
	}
	return nil
}

// scope returns the scope of a route without a gateway. IPv6 routes have no scope.
func scope(f hostnet.Family) netlink.Scope {
	if f == hostnet.V4 {
		return netlink.SCOPE_LINK
	}
	return netlink.SCOPE_UNIVERSE
}
