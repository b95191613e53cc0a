package tun

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
)

// configure does over netlink what these commands do:
//
//	ip link set DEV mtu MTU
//	ip link set DEV addrgenmode none
//	ip address replace ADDR dev DEV nodad
//	ip link set DEV up
//
// The second keeps the device quiet. Without it, the kernel makes up a link-local
// IPv6 address (fe80::...) and asks three times for a router, from an address that
// nobody gave the device. One case remains: a host that forwards IPv6 still reports
// twice that it has joined the group of routers (ff02::2).
func configure(name string, c Config) error {
	dev, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetMTU(dev, c.MTU); err != nil {
		return fmt.Errorf("setting the MTU to %d: %w", c.MTU, err)
	}
	if err := netlink.LinkSetIP6AddrGenMode(dev, addrGenNone); err != nil {
		// On a kernel without IPv6 this fails, and so does an IPv6 address below.
		slog.Debug("no IPv6 on the device", "device", name, "error", err)
	}
	for _, a := range c.Addrs {
		// No other host can have the address, so the search for a duplicate
		// (DAD, RFC 4862, section 5.4) would only delay it by a second.
		addr := &netlink.Addr{
			IPNet: &net.IPNet{
				IP:   a.Addr().AsSlice(),
				Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen()),
			},
			Flags: unix.IFA_F_NODAD,
		}
		if err := netlink.AddrReplace(dev, addr); err != nil {
			return explainAddr(a, err)
		}
	}
	if err := netlink.LinkSetUp(dev); err != nil {
		return fmt.Errorf("bringing it up: %w", err)
	}
	awaitUsable(c.Addrs)
	return nil
}

// explainAddr explains the kernel's refusal of an address. If IPv6 is off, the
// kernel gives a misleading reason: "permission denied".
func explainAddr(a netip.Prefix, err error) error {
	err = fmt.Errorf("adding the address %v: %w", a, err)
	off := errors.Is(err, unix.EACCES) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)
	if off && a.Addr().Is6() {
		return app.Hint(err, "IPv6 is switched off on this host: leave %v out of -addr, "+
			"or switch it on: sysctl net.ipv6.conf.default.disable_ipv6=0", a)
	}
	return err
}

// addrGenNone is IN6_ADDR_GEN_MODE_NONE of linux/if_link.h.
const addrGenNone = 1
