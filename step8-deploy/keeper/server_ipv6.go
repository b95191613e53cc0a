package keeper

import (
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"

	"stepvpn/step5-nat/hostnet"
)

// servable parts the subnets: a host on which IPv6 is switched off gives no device an
// address of it, and serves the rest. Without any rest it keeps all, and the device says
// what is wrong. Those that are off stay the clients': a later start finds them where
// they were.
func servable(subnets []netip.Prefix) (served, off []netip.Prefix) {
	is6 := func(a netip.Prefix) bool { return a.Addr().Is6() }
	if !ipv6Off() || !slices.ContainsFunc(subnets, is6) {
		return subnets, nil
	}
	for _, a := range subnets {
		if is6(a) {
			off = append(off, a)
		} else {
			served = append(served, a)
		}
	}
	if len(served) == 0 {
		return subnets, nil
	}
	slog.Warn("IPv6 is switched off on this host: clients get no address of it", "subnets", off,
		"cure", "Switch it on and start the service anew (sysctl net.ipv6.conf.all.disable_ipv6=0), or take them out of subnets in server.toml.")
	return served, off
}

// ipv6Off tells whether a new device can't have an address of IPv6. The setting for all
// devices sets this one, too.
func ipv6Off() bool {
	off, _ := os.ReadFile("/proc/sys/net/ipv6/conf/default/disable_ipv6")
	return hostnet.V6.Off() || strings.TrimSpace(string(off)) == "1"
}
