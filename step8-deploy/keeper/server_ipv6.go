package keeper

import (
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"

	"stepvpn/step5-nat/hostnet"
)

// servable splits a server's subnets into those that this host can serve and those that are
// off. If IPv6 is switched off, no device can have an IPv6 address, and the host serves IPv4
// only. If nothing would be left, it keeps all, and making the device reports what is wrong.
// Clients keep their leases in the subnets that are off, for a later start.
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
	slog.Warn("IPv6 is switched off on this host: clients get no IPv6 address", "subnets", off,
		"cure", "Switch it on (sysctl net.ipv6.conf.all.disable_ipv6=0) and restart the service, or remove them from subnets in server.toml.")
	return served, off
}

// ipv6Off reports whether a new device can't have an IPv6 address. Changing the setting for
// all devices changes this one, too.
func ipv6Off() bool {
	off, _ := os.ReadFile("/proc/sys/net/ipv6/conf/default/disable_ipv6")
	return hostnet.V6.Off() || strings.TrimSpace(string(off)) == "1"
}
