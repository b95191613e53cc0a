package reconcile

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/step5-nat/hostnet"
)

// A Device is a tunnel's device as it should be: up, with these addresses and this MTU. It
// may have other addresses as well.
type Device struct {
	Name  string
	Addrs []netip.Prefix
	MTU   int // bytes
}

// ErrNoDevice is the error if there is no device of that name: the program that opened it
// has to open it again.
var ErrNoDevice = errors.New("the device is gone")

// addrGenNone is IN6_ADDR_GEN_MODE_NONE of linux/if_link.h: the kernel generates no address
// of its own.
const addrGenNone = 1

// Mend makes the device what it should be, and returns what was wrong, in words such as "it
// was down". The error wraps ErrNoDevice if the device does not exist. If one thing can't be
// put right, Mend still does the others. It is safe for concurrent use.
func (d Device) Mend() (mended []string, err error) {
	dev, err := netlink.LinkByName(d.Name)
	if _, gone := errors.AsType[netlink.LinkNotFoundError](err); gone {
		return nil, app.Hint(fmt.Errorf("device %s: %w", d.Name, ErrNoDevice), "Restart the service.")
	}
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", d.Name, err)
	}
	var errs []error
	note := func(err error, what string, args ...any) {
		what = fmt.Sprintf(what, args...)
		if err != nil {
			errs = append(errs, fmt.Errorf("device %s: %s, and that can't be changed: %w", d.Name, what, err))
			return
		}
		mended = append(mended, what)
	}

	// If the MTU is below 1280 bytes, the kernel ends IPv6 on a device, and forgets its IPv6
	// settings. A device that goes down also loses its IPv6 addresses. So addresses come last.
	if is := dev.Attrs().MTU; is != d.MTU {
		note(netlink.LinkSetMTU(dev, d.MTU), "its MTU was %d", is)
		netlink.LinkSetIP6AddrGenMode(dev, addrGenNone) // fails where there is no IPv6
	}
	if dev.Attrs().Flags&net.FlagUp == 0 {
		note(netlink.LinkSetUp(dev), "it was down")
	}
	have, err := hostnet.Complete(func() ([]netlink.Addr, error) { return netlink.AddrList(dev, netlink.FAMILY_ALL) })
	if err != nil {
		return mended, errors.Join(append(errs, fmt.Errorf("device %s: reading its addresses: %w", d.Name, err))...)
	}
	for _, a := range d.Addrs {
		if has(have, a) {
			continue
		}
		// No other host can have the address, so skip duplicate address detection (RFC 4862,
		// section 5.4).
		add := netlink.AddrReplace(dev, &netlink.Addr{Flags: unix.IFA_F_NODAD, IPNet: &net.IPNet{
			IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen()),
		}})
		if a.Addr().Is6() && errors.Is(add, unix.EACCES) {
			add = app.Hint(errors.New("IPv6 is switched off on it"), "Switch it on again: sysctl net.ipv6.conf.%s.disable_ipv6=0", d.Name)
		}
		note(add, "its address %v was missing", a)
	}
	return mended, errors.Join(errs...)
}

// has reports whether the address is among those of a device.
func has(list []netlink.Addr, want netip.Prefix) bool {
	for _, a := range list {
		ip, _ := netip.AddrFromSlice(a.IP)
		if ones, _ := a.Mask.Size(); ip.Unmap() == want.Addr() && ones == want.Bits() {
			return true
		}
	}
	return false
}
