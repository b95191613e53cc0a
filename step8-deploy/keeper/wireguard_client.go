package keeper

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"

	"stepvpn/step6-dns/push"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/takeover"
)

// This file is for a client of the WireGuard protocol, whose servers hand out nothing: what its
// file says are the terms.

// TermsOf returns the terms of a client that speaks the WireGuard protocol, but for the address of
// the server, which the worker finds out. An address of a family of which no peer has any network
// is left out: then packets of that family are refused at once, and not lost in the tunnel.
func TermsOf(cfg *config.Client) takeover.Terms {
	f := cfg.WireGuard
	networks := f.Networks()
	addrs := slices.DeleteFunc(slices.Clone(f.Addresses), func(a netip.Prefix) bool {
		return !slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Addr().Is4() == a.Addr().Is4() })
	})
	if len(addrs) == 0 {
		addrs = f.Addresses
	}
	dns := f.DNS[:min(len(f.DNS), push.MaxDNS)] // the system would not ask more
	return takeover.Terms{Addrs: addrs, Settings: push.Settings{DNS: dns, Search: f.Search}, MTU: cfg.MTU}
}

// checkWireGuard returns an error if a worker asks for other terms.
func checkWireGuard(t takeover.Terms, cfg *config.Client) error {
	want := TermsOf(cfg)
	want.Server = t.Server
	if !reflect.DeepEqual(t, want) {
		return errors.New("they are not those of the WireGuard file")
	}
	return nil
}
