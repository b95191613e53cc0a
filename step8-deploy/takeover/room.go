package takeover

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"

	"stepvpn/step2-tun/packet"
	"stepvpn/step8-deploy/keep"
	"stepvpn/step8-deploy/pathmtu"
)

// A room is how long packets in the tunnel are.
type room struct {
	mu     sync.Mutex // guards all below
	device string     // "" if there is none
	addrs  []netip.Prefix
	size   int
	table  keep.Table
}

// deviceMTU returns the MTU of a device with these addresses for packets of size
// bytes. What is too long for the path, as IPv6 wants it so, travels in pieces, where
// it is not TCP.
func deviceMTU(size int, addrs []netip.Prefix) int {
	if slices.ContainsFunc(addrs, func(a netip.Prefix) bool { return a.Addr().Is6() }) {
		return max(size, packet.MinIPv6MTU) // below it, the device loses them
	}
	return size
}

// enter begins with what the terms say, which the device has already.
func (r *room) enter(device string, t Terms) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.device, r.addrs, r.size = device, t.Addrs, t.MTU
	r.clamp()
}

// mend tells TCP again if another program has removed that, and whether it was so.
func (r *room) mend() (mended bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.table.Mend()
}

// clamp tells TCP. Without that packets may travel in pieces, but they travel.
func (r *room) clamp() {
	r.table = keep.Table{Name: pathmtu.OurTable, Make: func() error { return pathmtu.Clamp(r.device, r.size) }}
	if err := r.table.Set(); err != nil {
		slog.Warn("TCP through the tunnel is not told how much fits, so some of its packets may be cut up on the way", "error", err)
	}
}

// leave puts back what enter and Fit have done, but for the device's MTU.
func (r *room) leave() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.device = ""
	return r.table.Remove()
}

// Fit has packets in the tunnel be of up to size bytes, if anything is taken. A device
// with IPv6 addresses takes 1280 at least.
func (h *Host) Fit(size int) error {
	r := &h.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.device == "" || r.size == size {
		return nil
	}
	mtu := deviceMTU(size, r.addrs)
	dev, err := netlink.LinkByName(r.device)
	if err == nil {
		err = netlink.LinkSetMTU(dev, mtu)
	}
	if err != nil {
		return fmt.Errorf("setting the MTU of %s to %d: %w", r.device, mtu, err)
	}
	slog.Info("the path to the server has room for other packets than before", "before", r.size, "now", size, "mtu", mtu)
	r.size = size
	r.clamp()
	return nil
}
