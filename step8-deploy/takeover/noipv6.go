package takeover

import (
	"net/netip"
	"os"
	"slices"
	"strings"

	"stepvpn/step5-nat/hostnet"
)

// usable returns the part of t that this host can have: if IPv6 is switched off, the tunnel
// carries no IPv6, and IPv6 packets that would go through it are refused.
func (t *taken) usable() *taken {
	if !t.carries(hostnet.V6) || !noIPv6(t.cfg.Device) {
		return t
	}
	u := *t
	u.terms.Addrs = slices.DeleteFunc(slices.Clone(t.terms.Addrs), func(a netip.Prefix) bool { return a.Addr().Is6() })
	return &u
}

// reachable returns the resolvers that can be reached through the tunnel, as programs would
// wait for the others in vain. If none can be, it returns all of them.
func (t *taken) reachable(resolvers []netip.Addr) []netip.Addr {
	list := slices.DeleteFunc(slices.Clone(resolvers), func(a netip.Addr) bool { return !t.carries(hostnet.FamilyOf(a)) })
	if len(list) == 0 {
		return resolvers
	}
	return list
}

// noIPv6 reports whether the operator has switched IPv6 off: for a device or, if that does
// not exist, for new devices.
func noIPv6(device string) bool {
	const conf = "/proc/sys/net/ipv6/conf/"
	off, err := os.ReadFile(conf + device + "/disable_ipv6")
	if err != nil {
		off, err = os.ReadFile(conf + "default/disable_ipv6")
	}
	return hostnet.V6.Off() || err == nil && strings.TrimSpace(string(off)) == "1"
}

// switchOn is the cure for a host without IPv6.
const switchOn = "Switch it on again: sysctl net.ipv6.conf.all.disable_ipv6=0"
