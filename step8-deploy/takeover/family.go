package takeover

import (
	"net/netip"
	"os"
	"slices"
	"strings"

	"stepvpn/step5-nat/hostnet"
)

// switchOn is the cure for a host without IPv6.
const switchOn = "Switch it on again: sysctl net.ipv6.conf.all.disable_ipv6=0"

// noIPv6 tells whether the operator has switched IPv6 off: for a device, or for those that
// are made from now on if it is not there.
func noIPv6(device string) bool {
	const conf = "/proc/sys/net/ipv6/conf/"
	off, err := os.ReadFile(conf + device + "/disable_ipv6")
	if err != nil {
		off, err = os.ReadFile(conf + "default/disable_ipv6")
	}
	return hostnet.V6.Off() || err == nil && strings.TrimSpace(string(off)) == "1"
}

// usable is t as far as this host can have it: where IPv6 is switched off the tunnel
// carries none, and what would go through it by IPv6 is refused.
func (t *taken) usable() *taken {
	if !t.carries(hostnet.V6) || !noIPv6(t.cfg.Device) {
		return t
	}
	u := *t
	u.terms.Addrs = slices.DeleteFunc(slices.Clone(t.terms.Addrs), func(a netip.Prefix) bool { return a.Addr().Is6() })
	return &u
}

// reachable are those resolvers that the tunnel leads to: programs would wait for the
// others. If there are none, it is all of them.
func (t *taken) reachable(resolvers []netip.Addr) []netip.Addr {
	list := slices.DeleteFunc(slices.Clone(resolvers), func(a netip.Addr) bool { return !t.carries(hostnet.FamilyOf(a)) })
	if len(list) == 0 {
		return resolvers
	}
	return list
}
