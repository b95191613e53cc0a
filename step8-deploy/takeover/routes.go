package takeover

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step5-nat/route"
)

// intoTunnel lists what sends the networks in only into the device, nil for everything,
// but for what is local, for which there are other rules. A family that the tunnel does
// not carry is refused. It has made sure that this can be done, and has removed what a
// killed client left. (A network of this host may overlap the tunnel's.)
func intoTunnel(device string, t Terms, only []netip.Prefix) (list []policy.Change, err error) {
	if len(t.Addrs) == 0 {
		return nil, errors.New("the tunnel has no address")
	}
	if err := hostnet.Disjoint(t.Addrs); err != nil {
		return nil, err
	}
	for _, f := range hostnet.Families {
		carried := len(f.Subnets(t.Addrs)) > 0
		into := []netip.Prefix{policy.Everything(f)}
		if only != nil {
			into = f.Subnets(only)
			slices.SortFunc(into, netip.Prefix.Compare)
			into = slices.Compact(into) // a route can be there once
		}
		switch {
		case only != nil && len(into) > 0 && !carried:
			return nil, fmt.Errorf("%v is to go into the tunnel, which carries no %v", into[0], f)
		case f.Off() || len(into) == 0:
			continue
		case carried:
			for _, p := range into {
				list = append(list, policy.AddRoute(p, device, route.Table))
			}
		}
		list = append(list, route.Tunnel(f, carried).Add())
	}
	return list, route.Prepare(device, t.Server.Addr().Unmap())
}
