package takeover

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/step2-tun/tun"
	"stepvpn/step5-nat/route"
	"stepvpn/step8-deploy/fast"
	"stepvpn/step8-deploy/reconcile"
)

// This file makes the tunnel's device, makes it again if somebody deletes it or its addresses
// are to change, and removes it.

// A device is a TUN device. The worker, which moves its packets, has a copy of its
// descriptor.
type device struct {
	name  string
	fd    int
	index int
	addrs []netip.Prefix // handed out by the server, including those that this host can't have
}

// keepDevice makes sure that the device exists and has its addresses, and returns what had
// been wrong with it. If the addresses are to be others, it makes another device.
func (h *Host) keepDevice(d reconcile.Device) (mended []string, err error) {
	if h.dev != nil {
		switch there := h.dev.exists(); {
		case there && same(h.dev.addrs, h.taken.terms.Addrs):
			return d.Mend()
		case !there:
			mended = []string{"it was deleted or renamed"}
		}
		if err := h.dev.remove(); err != nil {
			return nil, err
		}
		h.dev = nil
		h.dev, err = openDevice(d, h.taken.terms.Addrs)
		return mended, err
	}
	if h.dev, err = openDevice(d, h.taken.terms.Addrs); err != nil {
		return nil, err
	}
	if err := route.Prepare(d.Name, h.taken.terms.Server.Addr().Unmap()); err != nil {
		err = errors.Join(err, h.dev.remove())
		h.dev = nil
		return nil, err
	}
	return nil, nil
}

// same reports whether two lists have the same addresses, in any order.
func same(a, b []netip.Prefix) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.SortFunc(a, netip.Prefix.Compare)
	slices.SortFunc(b, netip.Prefix.Compare)
	return slices.Equal(a, b)
}

func openDevice(d reconcile.Device, addrs []netip.Prefix) (*device, error) {
	name, fds, err := fast.Attach(tun.Config{Name: d.Name, Addrs: d.Addrs, MTU: d.MTU}, 1, false)
	if err != nil {
		return nil, err
	}
	dev := &device{name: name, fd: fds[0], addrs: addrs}
	if l, err := netlink.LinkByName(name); err == nil {
		dev.index = l.Attrs().Index
	}
	return dev, nil
}

// exists reports whether the device still exists: somebody may have deleted or renamed it.
func (d *device) exists() bool {
	l, err := netlink.LinkByName(d.name)
	return err == nil && l.Attrs().Index == d.index
}

// remove deletes the device, even if it has another name by now, or another process has a copy
// of its descriptor: a worker that moves packets of a deleted device notices that.
func (d *device) remove() error {
	var err error
	if l, gone := netlink.LinkByIndex(d.index); gone == nil {
		err = netlink.LinkDel(l)
	}
	if err != nil {
		err = fmt.Errorf("removing %s: %w", d.name, err)
	}
	return errors.Join(err, unix.Close(d.fd))
}
