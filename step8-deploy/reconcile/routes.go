package reconcile

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
)

// Routes makes sure that a routing table has routes into a device to these networks, and no
// others of ours. It returns how many had been missing. It adds what is missing before it
// removes anything. It leaves out a family that the kernel does not have. It is safe for
// concurrent use.
func Routes(table int, device string, want []netip.Prefix) (missing int, err error) {
	index := 0
	if dev, err := netlink.LinkByName(device); err == nil {
		index = dev.Attrs().Index
	}
	var errs []error
	for _, f := range hostnet.Families {
		if f.Off() {
			continue
		}
		have, err := hostnet.Routes(f, table)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		wanted := f.Subnets(want)
		slices.SortFunc(wanted, func(a, b netip.Prefix) int { return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits()) })
		for _, p := range slices.Compact(wanted) {
			if slices.ContainsFunc(have, func(r netlink.Route) bool { return isTo(r, f, p) && r.LinkIndex == index }) {
				continue
			}
			add := policy.AddRoute(p, device, table)
			switch err := add.Do(); {
			case err == nil:
				missing++
			case !errors.Is(err, unix.EEXIST):
				errs = append(errs, fmt.Errorf("%s: %w", add.Command, err))
			}
		}
		for _, r := range have {
			if r.Protocol != policy.MadeBy || slices.ContainsFunc(wanted, func(p netip.Prefix) bool { return isTo(r, f, p) && r.LinkIndex == index }) {
				continue
			}
			errs = append(errs, policy.RemoveRoute(r))
		}
	}
	return missing, errors.Join(errs...)
}

// isTo reports whether a route is to a network.
func isTo(r netlink.Route, f hostnet.Family, p netip.Prefix) bool { return Destination(r, f) == p }

// Destination returns the network that a route of a family leads to.
func Destination(r netlink.Route, f hostnet.Family) netip.Prefix {
	if r.Dst == nil {
		return policy.Everything(f)
	}
	a, _ := netip.AddrFromSlice(r.Dst.IP)
	ones, _ := r.Dst.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones)
}
