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

// DefaultRoutes returns the names of the interfaces of the host's default routes of the
// family, as in "ip -4 route show default", lowest metric first. Each path of a multipath
// route counts. The interface except is left out.
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
			link, err := netlink.LinkByIndex(path.LinkIndex) // a multipath route itself has no interface
			if err == nil && link.Attrs().Name != except && !slices.Contains(names, link.Attrs().Name) {
				names = append(names, link.Attrs().Name)
			}
		}
	}
	return names, nil
}

// list reads those routes from the kernel that are like filter in the fields that by names.
// If by names the destination and filter has none, these are the default routes.
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

// Complete asks the kernel for a list. If the list changes while the kernel reads it, the
// kernel reports that, and Complete asks again, at most 10 times.
func Complete[T any](ask func() ([]T, error)) (list []T, err error) {
	const tries = 10
	for range tries {
		if list, err = ask(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return list, err
}
