package keeper

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/step2-tun/packet"
	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step8-deploy/pathmtu"
	"stepvpn/step8-deploy/privsep"
)

// maxBounds is the largest number of bounds in one request.
const maxBounds = 1024

// bound makes the kernel treat each client like a router's next link with this MTU:
//
//	ip route replace 10.8.0.2/32 dev vpn0 mtu 1340
//
// A longer packet is fragmented, or its sender is told the MTU; new TCP connections learn it
// when they begin (see package gateway). Most clients' paths carry as much as the device, and
// have no such route. All these routes go with the device. A route that is set already is
// set again, as it may have been flushed.
func (s *Server) bound(parse func(any) error) (r privsep.Result, err error) {
	var list []pathmtu.Bound
	if err := parse(&list); err != nil {
		return r, err
	}
	if len(list) > maxBounds {
		return r, fmt.Errorf("%d paths at once are too many", len(list))
	}
	for _, b := range list {
		if !s.isClients(b.Client) || s.isOwn(b.Client) {
			return r, fmt.Errorf("%v is not the address of a client", b.Client)
		}
	}
	dev, err := net.InterfaceByName(s.told.Device)
	if err != nil {
		return r, err
	}
	var errs []error
	for _, b := range list {
		// A client that claims less harms only itself; but every path carries 576 bytes.
		size := max(b.Size, minMTU)
		if b.Client.Is6() {
			size = max(size, packet.MinIPv6MTU)
		}
		if size >= s.told.MTU {
			errs = append(errs, removeRoute(dev.Index, b.Client))
			continue
		}
		route := routeTo(dev.Index, b.Client)
		route.MTU = size
		if err := netlink.RouteReplace(route); err != nil {
			errs = append(errs, fmt.Errorf("a route to %v with an MTU of %d: %w", b.Client, size, err))
		}
	}
	return r, errors.Join(errs...)
}

// unbound removes the routes to clients.
func (s *Server) unbound(clients []netip.Addr) error {
	dev, err := net.InterfaceByName(s.told.Device)
	if err != nil {
		return nil // the routes went with the device
	}
	var errs []error
	for _, a := range clients {
		errs = append(errs, removeRoute(dev.Index, a))
	}
	return errors.Join(errs...)
}

func (s *Server) isOwn(a netip.Addr) bool {
	return slices.ContainsFunc(s.cfg.Subnets, func(n netip.Prefix) bool { return n.Addr() == a })
}

func routeTo(device int, client netip.Addr) *netlink.Route {
	r := &netlink.Route{
		Family: int(hostnet.FamilyOf(client)), LinkIndex: device, Protocol: policy.MadeBy,
		Dst: &net.IPNet{IP: client.AsSlice(), Mask: net.CIDRMask(client.BitLen(), client.BitLen())},
	}
	if client.Is4() {
		r.Scope = netlink.SCOPE_LINK
	}
	return r
}

func removeRoute(device int, client netip.Addr) error {
	err := netlink.RouteDel(routeTo(device, client))
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("removing the route to %v: %w", client, err)
	}
	return nil
}
