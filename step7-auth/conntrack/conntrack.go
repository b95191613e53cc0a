// Package conntrack makes the kernel forget connections. Introduced in step 7, where an
// address of one client may later be given to another.
package conntrack

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"stepvpn/step5-nat/hostnet"
)

// Forget makes the kernel forget the connections of clients that have gone, as
// "conntrack -D -s 10.8.0.7" does. Otherwise the next client with such an address would
// also get the answers on these connections. Forget looks through all connections of this
// host, so pass it several addresses at once.
func Forget(clients []netip.Addr) error {
	for _, f := range hostnet.Families {
		if !slices.ContainsFunc(clients, func(a netip.Addr) bool { return hostnet.FamilyOf(a) == f }) {
			continue
		}
		_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.InetFamily(f), from(clients))
		if err != nil {
			return fmt.Errorf("forgetting the %v connections of clients that have gone: %w", f, err)
		}
	}
	return nil
}

// from matches the connections that one of the addresses opened.
type from []netip.Addr

func (f from) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	source, ok := netip.AddrFromSlice(flow.Forward.SrcIP)
	return ok && slices.Contains(f, source.Unmap())
}
