package names

import (
	"net/netip"
	"slices"

	"stepvpn/shared/atomicfile"
	"stepvpn/step6-dns/resolvconf"
	"stepvpn/step6-dns/resolvconf/owner"
)

// Underlay returns the nameservers that this host asks without the tunnel, even while
// resolvconf.Use is in force: the client needs them to find the tunnel's server. It uses only
// the fields Path, State, and DNS of the Config. It leaves out the tunnel's resolvers. It
// replaces resolvers on this host itself by the ones that they ask in turn, as far as it can
// find those (see upstreams). It is safe for concurrent use.
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
		more, _, _ := atomicfile.Read(resolvedList, maxFile, atomicfile.Follow) // if it can't be read, there are none
		list = append(list, servers(more)...)
	}
	return slices.DeleteFunc(list, func(a netip.Addr) bool {
		return a.IsLoopback() || a.IsUnspecified() || slices.Contains(c.DNS, a)
	}), nil
}

// resolvedList is a file in which systemd-resolved lists the resolvers of all links.
const resolvedList = "/run/systemd/resolve/resolv.conf"
