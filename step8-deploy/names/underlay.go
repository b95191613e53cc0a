package names

import (
	"net/netip"
	"slices"

	"stepvpn/shared/atomicfile"
	"stepvpn/step6-dns/resolvconf"
	"stepvpn/step6-dns/resolvconf/owner"
)

// resolvedList names the resolvers of all links; systemd-resolved keeps it.
const resolvedList = "/run/systemd/resolve/resolv.conf"

// Underlay returns whom this host asks for names if there is no tunnel, also while
// resolvconf.Use is in force: the tunnel needs them to find its server. Of the Config only
// Path, State, and DNS matter: the tunnel's resolvers are left out. So are addresses of
// this host itself, as they ask somebody in turn: the ones that they ask stand in their
// place, as far as that can be found out (see upstreams). It may be called from any
// goroutine.
func Underlay(c resolvconf.Config) ([]netip.Addr, error) {
	file, err := resolvconf.Original(c)
	if err != nil {
		return nil, err
	}
	list := servers(file)
	if slices.ContainsFunc(list, netip.Addr.IsLoopback) {
		if !slices.ContainsFunc(list, owner.IsStub) {
			list = append(list, upstreams("")...)
		}
		more, _, _ := atomicfile.Read(resolvedList, maxFile, atomicfile.Follow) // where it can't be read, there are none
		list = append(list, servers(more)...)
	}
	return slices.DeleteFunc(list, func(a netip.Addr) bool {
		return a.IsLoopback() || a.IsUnspecified() || slices.Contains(c.DNS, a)
	}), nil
}
