// Package underlay knows the network that carries the tunnel: whom this host asks for
// names when it is not by the tunnel. That is for the tunnel's own needs: to find its
// server while it is down. Introduced in step 8.
package underlay

import (
	"net/netip"
	"slices"
	"strings"

	"stepvpn/shared/atomicfile"
	"stepvpn/step6-dns/resolvconf"
)

// resolvedList names the resolvers of all links; systemd-resolved keeps it.
const resolvedList = "/run/systemd/resolve/resolv.conf"

const (
	maxServers = 3        // as many as programs use (MAXNS of resolv.conf(5))
	maxFile    = 64 << 10 // bytes
)

// Nameservers returns whom this host asks for names if there is no tunnel, also while
// resolvconf.Use is in force. Of the Config only Path, State, and DNS matter: the
// tunnel's resolvers are left out. So are addresses of this host itself, as they ask
// somebody in turn: for those of systemd-resolved, the ones that it asks stand in their
// place. It may be called from any goroutine.
func Nameservers(c resolvconf.Config) ([]netip.Addr, error) {
	file, err := resolvconf.Original(c)
	if err != nil {
		return nil, err
	}
	list := nameservers(file)
	if slices.ContainsFunc(list, netip.Addr.IsLoopback) {
		more, _, _ := atomicfile.Read(resolvedList, maxFile, atomicfile.Follow) // where it can't be read, there are none
		list = append(list, nameservers(more)...)
	}
	return slices.DeleteFunc(list, func(a netip.Addr) bool {
		return a.IsLoopback() || a.IsUnspecified() || slices.Contains(c.DNS, a)
	}), nil
}

// nameservers lists those of a file.
func nameservers(file []byte) []netip.Addr {
	var list []netip.Addr
	for line := range strings.Lines(string(file)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" || len(list) == maxServers {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil {
			list = append(list, a.Unmap())
		}
	}
	return list
}
