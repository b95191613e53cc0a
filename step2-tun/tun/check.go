package tun

import (
	"strings"

	"stepvpn/shared/app"
	"stepvpn/step2-tun/packet"
)

// check refuses a Config that the kernel would refuse with a bare "invalid argument",
// or would accept although it makes no sense. It asks nothing of the host: see Check.
func (c *Config) check() error {
	if err := checkName(c.Name); err != nil {
		return err
	}
	if c.MTU < minMTU || c.MTU > maxMTU {
		return app.Usage("MTU %d is not between %d and %d", c.MTU, minMTU, maxMTU)
	}
	if len(c.Addrs) > maxAddrs {
		return app.Usage("%d addresses: a device gets at most %d", len(c.Addrs), maxAddrs)
	}
	for _, a := range c.Addrs {
		ip := a.Addr()
		if !a.IsValid() || ip.Is4In6() || ip.IsUnspecified() || ip.IsMulticast() {
			return app.Usage("%v is not an address that a device can have", a)
		}
		if ip.Is6() && c.MTU < packet.MinIPv6MTU {
			return app.Hint(app.Usage("MTU %d is too small for the IPv6 address %v", c.MTU, a),
				"IPv6 needs at least %d: raise the MTU, or leave the IPv6 address out.", packet.MinIPv6MTU)
		}
	}
	return nil
}

// checkName refuses a name that no interface can have. The length matters most:
// water silently cuts off a long name.
func checkName(name string) error {
	const maxLen = 15 // IFNAMSIZ in linux/if.h is 16, with the final 0
	if len(name) > maxLen {
		return app.Hint(app.Usage("device name %q is too long", name),
			"Choose one of at most %d bytes.", maxLen)
	}
	// The kernel would replace "%d" by the first number that is free.
	if name == "." || name == ".." || strings.ContainsAny(name, "/:%") || strings.ContainsFunc(name, notPrintable) {
		return app.Hint(app.Usage("device name %q is not allowed", name),
			"Use only letters and digits, as in vpn0.")
	}
	return nil
}

// notPrintable reports whether r is a space, a control character, or not ASCII.
func notPrintable(r rune) bool { return r <= ' ' || r >= 0x7f }
