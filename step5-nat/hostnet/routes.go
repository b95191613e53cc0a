package hostnet

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Routes lists the routes of a table: "ip -4 route show table N".
func Routes(f Family, table int) ([]netlink.Route, error) {
	return list(f, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
}

// DefaultRoute returns the name of the interface that the host's default route
// of the family leaves by, or "" if there is none: "ip -4 route show default".
// Of several it is the one with the lowest metric. A route through the device
// except does not count.
func DefaultRoute(f Family, except string) (string, error) {
	routes, err := list(f, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
	if err != nil {
		return "", err
	}
	slices.SortStableFunc(routes, func(a, b netlink.Route) int { return cmp.Compare(a.Priority, b.Priority) })
	for _, r := range routes {
		if r.Type != unix.RTN_UNICAST {
			continue // such as "unreachable default"
		}
		link, err := netlink.LinkByIndex(interfaceOf(r))
		if err == nil && link.Attrs().Name != except {
			return link.Attrs().Name, nil
		}
	}
	return "", nil
}

// interfaceOf returns the index of the interface that r leaves by: of a
// multipath route, that of its first path.
func interfaceOf(r netlink.Route) int {
	if len(r.MultiPath) > 0 {
		return r.MultiPath[0].LinkIndex
	}
	return r.LinkIndex
}

// list reads routes from the kernel. A filter without a destination that is
// asked to filter by it takes default routes.
func list(f Family, filter *netlink.Route, by uint64) ([]netlink.Route, error) {
	if f.Off() {
		return nil, nil
	}
	routes, err := Complete(func() ([]netlink.Route, error) { return netlink.RouteListFiltered(int(f), filter, by) })
	if err != nil {
		return nil, fmt.Errorf("reading the %v routes: %w", f, err)
	}
	return routes, nil
}

// Complete asks the kernel for a list. When somebody changes it meanwhile, the kernel
// says so, and is asked again.
func Complete[T any](ask func() ([]T, error)) (list []T, err error) {
	const tries = 10
	for range tries {
		if list, err = ask(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return list, err
}
