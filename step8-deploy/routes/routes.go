// Package routes encodes what a server hands out in addition to package push: the networks
// that a client should send through the tunnel. Introduced in step 8.
//
// They are items in the same encoding, which clients of steps 6 and 7 skip:
//
//	type 3  route  5 or 17 bytes, the length of a prefix and its address
package routes

import (
	"fmt"
	"net/netip"

	"stepvpn/step6-dns/push"
)

// Max is the largest number of routes that a server hands out.
const Max = 16

const typeRoute = 3

// Append appends the routes to encoded settings. It returns an error if Parse would refuse
// them.
func Append(settings []byte, routes []netip.Prefix) ([]byte, error) {
	if err := check(routes); err != nil {
		return nil, err
	}
	for _, r := range routes {
		settings = push.Item{Type: typeRoute, Value: append([]byte{byte(r.Bits())}, r.Addr().AsSlice()...)}.Append(settings)
	}
	return settings, nil
}

// Parse returns the routes in encoded settings, or an error if any is not plausible.
func Parse(settings []byte) ([]netip.Prefix, error) {
	items, err := push.Items(settings)
	if err != nil {
		return nil, err
	}
	var routes []netip.Prefix
	for _, i := range items {
		if i.Type != typeRoute {
			continue
		}
		if len(i.Value) != 5 && len(i.Value) != 17 {
			return nil, fmt.Errorf("settings: a route of %d bytes", len(i.Value))
		}
		a, _ := netip.AddrFromSlice(i.Value[1:])
		routes = append(routes, netip.PrefixFrom(a, int(i.Value[0])))
	}
	if err := check(routes); err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	return routes, nil
}

// check returns what is wrong with the routes.
func check(routes []netip.Prefix) error {
	if len(routes) > Max {
		return fmt.Errorf("%d routes, at most %d are possible", len(routes), Max)
	}
	for _, r := range routes {
		if !r.IsValid() || r.Masked() != r || r.Addr().Is4In6() || r.Addr().Zone() != "" {
			return fmt.Errorf("%v cannot be a route", r)
		}
	}
	return nil
}
