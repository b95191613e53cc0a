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

// addrGenNone is IN6_ADDR_GEN_MODE_NONE of linux/if_link.h.
const addrGenNone = 1

// configure does over netlink what these commands do:
//
//	ip link set DEV mtu MTU
//	ip link set DEV addrgenmode none
//	ip address replace ADDR dev DEV nodad
//	ip link set DEV up
//
// The second keeps the device quiet. Without it, the kernel makes up a link-local
// IPv6 address (fe80::...) and asks three times for a router, from an address that
// nobody gave the device. What is left is a host that forwards IPv6: it reports
// twice that it is in the group of routers (ff02::2).
func configure(name string, c Config) error {
	dev, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetMTU(dev, c.MTU); err != nil {
		return fmt.Errorf("setting the MTU to %d: %w", c.MTU, err)
	}
	if err := netlink.LinkSetIP6AddrGenMode(dev, addrGenNone); err != nil {
		// A kernel without IPv6 says so here. An IPv6 address below fails then.
		slog.Debug("no IPv6 on the device", "device", name, "error", err)
	}
	for _, a := range c.Addrs {
		// Nobody else can have the address, so the search for a duplicate
		// (DAD, RFC 4862, section 5.4) would only hold it back for a second.
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
	return nil
}

// explainAddr words the kernel's refusal of an address. Without IPv6 it has an
// odd one: "permission denied".
func explainAddr(a netip.Prefix, err error) error {
	err = fmt.Errorf("adding the address %v: %w", a, err)
	off := errors.Is(err, unix.EACCES) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)
	if off && a.Addr().Is6() {
		return app.Hint(err, "IPv6 is switched off on this host: leave %v out of -addr, "+
			"or switch it on: sysctl net.ipv6.conf.default.disable_ipv6=0", a)
	}
	return err
}
