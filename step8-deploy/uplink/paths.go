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
)

// Paths has the kernel do for a client what a router does whose next link has a small MTU:
//
//	ip route replace 10.8.0.2/32 dev vpn0 mtu 1340
//
// A sender of longer packets is told so, or they are fragmented, and TCP that begins is told
// what fits (see package gateway). Most clients have as much room as the device, and no such
// route. All routes go with the device. The methods may be called from any goroutine; they
// act in the network namespace of the thread that they run on.
type Paths struct {
	Device string
	MTU    int // of the device, in bytes

	mu    sync.Mutex
	sizes map[netip.Addr]int // of those who have a route
}

const (
	minPath  = 576     // bytes; every path of IPv4 carries as much (RFC 791)
	maxPaths = 1 << 16 // routes
)

// Set says how many bytes a packet to a client may have. What is less than any path
// carries is taken for that: such a client harms itself alone.
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

// Remove takes the route to a client away, if there is one.
func (p *Paths) Remove(client netip.Addr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sizes, client)
	dev, err := net.InterfaceByName(p.Device)
	if err != nil {
		return nil // it went with the device
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
		return 0, nil // and that was said
	}
	there := make(map[netip.Addr]int)
	for _, f := range hostnet.Families {
		list, err := hostnet.Routes(f, unix.RT_TABLE_MAIN)
		if err != nil {
			return 0, err
		}
		for _, r := range list {
			if r.LinkIndex != dev.Index || r.Dst == nil {
				continue
			}
			if a, ok := netip.AddrFromSlice(r.Dst.IP); ok {
				if a = a.Unmap(); hasAll(r.Dst.Mask, a) {
					there[a] = r.MTU
				}
			}
		}
	}
	var errs []error
	for client, size := range p.sizes {
		if there[client] == size {
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

// hasAll tells whether a mask leaves room for one address only.
func hasAll(mask net.IPMask, a netip.Addr) bool {
	ones, _ := mask.Size()
	return ones == a.BitLen()
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

// mendPaths puts back what somebody has removed of the routes to clients.
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
