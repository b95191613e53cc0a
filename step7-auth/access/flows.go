package access

import (
	"log/slog"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// flushFlows has the kernel forget the connections of some addresses, which NAT
// remembers for up to five days. Else the next client that gets one of these
// addresses would receive what was meant for the one before.
func flushFlows(addrs []netip.Addr) {
	var v4, v6 []netlink.CustomConntrackFilter
	for _, a := range addrs {
		filter := new(netlink.ConntrackFilter)
		if err := filter.AddIP(netlink.ConntrackOrigSrcIP, a.AsSlice()); err != nil {
			continue // only for a second address in one filter
		}
		if a.Is4() {
			v4 = append(v4, filter)
		} else {
			v6 = append(v6, filter)
		}
	}
	flush(unix.AF_INET, v4)
	flush(unix.AF_INET6, v6)
}

func flush(family netlink.InetFamily, filters []netlink.CustomConntrackFilter) {
	if len(filters) == 0 {
		return
	}
	n, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, filters...)
	if err != nil {
		slog.Warn("the connections of a client that has left can't be flushed", "error", err)
		return
	}
	slog.Debug("connections of clients that have left are flushed", "count", n)
}
