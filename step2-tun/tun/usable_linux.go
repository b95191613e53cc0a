package tun

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	usableWithin = time.Second
	usableLook   = time.Millisecond
)

// awaitUsable waits until packets to the addresses are this host's. Linux adds the local route of an IPv6 address in the
// background, a few milliseconds after the address itself, and longer on a busy machine. In that time packets leave
// with that source address, and the answers are dropped.
func awaitUsable(addrs []netip.Prefix) {
	until := time.Now().Add(usableWithin)
	for _, a := range addrs {
		for !isLocal(a.Addr()) {
			if time.Now().After(until) {
				slog.Debug("the kernel has not made an address usable", "address", a, "within", usableWithin)
				return
			}
			time.Sleep(usableLook)
		}
	}
}

func isLocal(a netip.Addr) bool {
	routes, err := netlink.RouteGet(a.AsSlice())
	return err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL
}
