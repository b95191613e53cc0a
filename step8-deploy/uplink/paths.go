package uplink

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/step2-tun/packet"
	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step8-deploy/reconcile"
)

// Paths makes the kernel treat a client like a router's next link with a small MTU:
//
//	ip route replace 10.8.0.2/32 dev vpn0 mtu 1340
//
// A longer packet is fragmented, or its sender is told the MTU; new TCP connections learn it
// when they begin (see package gateway). Most clients' paths carry as much as the device, and
// have no such route. All these routes go with the device. The methods are safe for concurrent
// use; they act in the network namespace of the thread that they run on.
type Paths struct {
	Device string
	MTU    int // of the device, in bytes

	mu    sync.Mutex
	sizes map[netip.Addr]int // of clients that have a route
}

const (
	minPath  = 576     // bytes; every IPv4 path carries as much (RFC 791)
	maxPaths = 1 << 16 // routes
)

// Set limits the size, in bytes, of packets to a client. It raises a size that is less than
// what every path carries: a client that claims such a size harms only itself.
func (p *Paths) Set(client netip.Addr, size int) error {
	size = max(size, minPath)
	if client.Is6() {
		size = max(size, packet.MinIPv6MTU)
	}
	if size >= p.MTU {
		return p.Remove(client)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.sizes[client]; !known && len(p.sizes) >= maxPaths {
		return fmt.Errorf("more than %d paths are shorter than the tunnel's", maxPaths)
	}
	if p.sizes == nil {
		p.sizes = make(map[netip.Addr]int)
	}
	p.sizes[client] = size
	dev, err := net.InterfaceByName(p.Device)
	if err != nil {
		return err
	}
	return setPath(dev.Index, client, size)
}

// Remove removes the route to a client, if there is one.
func (p *Paths) Remove(client netip.Addr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sizes, client)
	dev, err := net.InterfaceByName(p.Device)
	if err != nil {
		return nil // the route went with the device
	}
	err = netlink.RouteDel(pathTo(dev.Index, client))
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("removing the route to %v: %w", client, err)
	}
	return nil
}

// mend puts back the routes that somebody has removed or changed, and returns how many.
func (p *Paths) mend() (missing int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.sizes) == 0 {
		return 0, nil
	}
	dev, err := net.InterfaceByName(p.Device)
	if err != nil {
		return 0, nil // the device is gone, which is reported elsewhere
	}
	there := make(map[netip.Prefix]int)
	for _, f := range hostnet.Families {
		if f.Off() {
			continue
		}
		list, err := hostnet.Routes(f, unix.RT_TABLE_MAIN)
		if err != nil {
			return 0, err
		}
		for _, r := range list {
			if r.LinkIndex == dev.Index {
				there[reconcile.Destination(r, f)] = r.MTU
			}
		}
	}
	var errs []error
	for client, size := range p.sizes {
		if there[netip.PrefixFrom(client, client.BitLen())] == size {
			continue
		}
		if err := setPath(dev.Index, client, size); err != nil {
			errs = append(errs, err)
			continue
		}
		missing++
	}
	return missing, errors.Join(errs...)
}

func setPath(device int, client netip.Addr, size int) error {
	r := pathTo(device, client)
	r.MTU = size
	if err := netlink.RouteReplace(r); err != nil {
		return fmt.Errorf("a route to %v with an MTU of %d: %w", client, size, err)
	}
	return nil
}

func pathTo(device int, client netip.Addr) *netlink.Route {
	r := &netlink.Route{
		Family: int(hostnet.FamilyOf(client)), LinkIndex: device, Protocol: policy.MadeBy,
		Dst: &net.IPNet{IP: client.AsSlice(), Mask: net.CIDRMask(client.BitLen(), client.BitLen())},
	}
	if client.Is4() {
		r.Scope = netlink.SCOPE_LINK
	}
	return r
}

// mendPaths puts back routes to clients that another program has removed.
func (k *Keeper) mendPaths(now time.Time) error {
	if k.config.Paths == nil || k.paths.Wait(now) > 0 {
		return nil
	}
	missing, err := k.config.Paths.mend()
	if missing == 0 {
		k.paths.Held(now)
		return err
	}
	k.paths.Mended(now)
	slog.Warn("routes to clients whose paths carry less than the tunnel had been removed, and are put back", "dev", k.config.Device.Name, "routes", missing)
	return err
}
