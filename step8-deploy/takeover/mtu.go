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

// An innerMTU is how long packets in the tunnel are.
type innerMTU struct {
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
func (m *innerMTU) enter(device string, t Terms) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.device, m.addrs, m.size = device, t.Addrs, t.MTU
	m.clamp()
}

// mend tells TCP again if another program has removed that, and whether it was so.
func (m *innerMTU) mend() (mended bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.table.Mend()
}

// clamp tells TCP. Without that packets may travel in pieces, but they travel.
func (m *innerMTU) clamp() {
	m.table = keep.Table{Name: pathmtu.OurTable, Make: func() error { return pathmtu.Clamp(m.device, m.size) }}
	if err := m.table.Set(); err != nil {
		slog.Warn("TCP through the tunnel is not told how much fits, so some of its packets may be cut up on the way", "error", err)
	}
}

// leave puts back what enter and Fit have done, but for the device's MTU.
func (m *innerMTU) leave() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.device = ""
	return m.table.Remove()
}

// Fit has packets in the tunnel be of up to size bytes, if anything is taken. A device
// with IPv6 addresses takes 1280 at least.
func (h *Host) Fit(size int) error {
	m := &h.inner
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.device == "" || m.size == size {
		return nil
	}
	mtu := deviceMTU(size, m.addrs)
	dev, err := netlink.LinkByName(m.device)
	if err == nil {
		err = netlink.LinkSetMTU(dev, mtu)
	}
	if err != nil {
		return fmt.Errorf("setting the MTU of %s to %d: %w", m.device, mtu, err)
	}
	slog.Info("the path to the server has room for other packets than before", "before", m.size, "now", size, "mtu", mtu)
	m.size = size
	m.clamp()
	return nil
}
