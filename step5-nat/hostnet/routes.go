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

// DefaultRoutes returns the names of the interfaces that the host's default routes of
// the family leave by: "ip -4 route show default". That of the lowest metric comes first,
// and of a multipath route each path counts. The device except does not.
func DefaultRoutes(f Family, except string) (names []string, err error) {
	routes, err := list(f, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(routes, func(a, b netlink.Route) int { return cmp.Compare(a.Priority, b.Priority) })
	for _, r := range routes {
		if r.Type != unix.RTN_UNICAST {
			continue // such as "unreachable default"
		}
		for _, path := range append(r.MultiPath, &netlink.NexthopInfo{LinkIndex: r.LinkIndex}) {
			link, err := netlink.LinkByIndex(path.LinkIndex) // there is none of a multipath route itself
			if err == nil && link.Attrs().Name != except && !slices.Contains(names, link.Attrs().Name) {
				names = append(names, link.Attrs().Name)
			}
		}
	}
	return names, nil
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
