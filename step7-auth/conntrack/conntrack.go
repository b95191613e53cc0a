// Package conntrack makes the kernel forget connections. Introduced in step 7, where
// another client may get an address after the one that had it.
package conntrack

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"stepvpn/step5-nat/hostnet"
)

// Forget makes the kernel forget the connections of clients that have gone, as
// "conntrack -D -s 10.8.0.7" does. Otherwise whoever gets such an address next
// gets the answers to these, too. It looks through all connections of this host,
// so give it several addresses at once.
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

// from matches the connections that one of the addresses began.
type from []netip.Addr

func (f from) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	source, ok := netip.AddrFromSlice(flow.Forward.SrcIP)
	return ok && slices.Contains(f, source.Unmap())
}
