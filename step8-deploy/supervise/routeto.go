package supervise

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// RouteTo identifies the way to a server, by source address and its interface: if it is the
// same after the network has changed, the session goes on (Config.Route).
// It needs no privilege. mark is that of the packets.
func RouteTo(server netip.Addr, mark uint32) (string, error) {
	list, err := netlink.RouteGetWithOptions(server.AsSlice(), &netlink.RouteGetOptions{Mark: mark, Oif: server.Zone()})
	if err != nil {
		return "", err
	}
	if len(list) == 0 {
		return "", unix.ENETUNREACH
	}
	own, _ := netip.AddrFromSlice(list[0].Src)
	return fmt.Sprintf("%v of %s", own.Unmap(), interfaceWith(own.Unmap())), nil
}

// interfaceWith names the interface that has an address, or returns "".
func interfaceWith(a netip.Addr) string {
	list, err := net.Interfaces()
	if err != nil {
		return ""
	}
	for _, itf := range list {
		addrs, err := itf.Addrs()
		if err != nil {
			continue // the interface is gone
		}
		for _, one := range addrs {
			if p, err := netip.ParsePrefix(one.String()); err == nil && p.Addr() == a.WithZone("") {
				return itf.Name
			}
		}
	}
	return ""
}
