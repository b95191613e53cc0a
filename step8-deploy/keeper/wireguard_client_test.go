package keeper

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/further/wireguard/conf"
	"stepvpn/step8-deploy/privsep"
	"stepvpn/step8-deploy/takeover"
)

// A worker gets the host on the terms of the WireGuard file, and on no others: a worker that has
// been taken over can't choose where names are looked up, or which addresses the host has.
func TestWireGuardTerms(t *testing.T) {
	server := netip.MustParseAddrPort("203.0.113.10:51820")
	k := client(t, server)
	k.cfg.MTU = 1420
	k.cfg.WireGuard = &conf.File{
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.7.0.2/32"), netip.MustParsePrefix("fd00:7::2/128")},
		Peers:     []conf.Peer{{AllowedIPs: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}},
		DNS:       []netip.Addr{netip.MustParseAddr("10.7.0.1")}, Search: []string{"corp.example"},
	}
	require.Equal(t, k.cfg.WireGuard.Addresses[:1], TermsOf(k.cfg).Addrs, "no peer has any IPv6")
	terms := func(change func(*takeover.Terms)) error {
		t := TermsOf(k.cfg)
		t.Server = server
		t.Addrs = append([]netip.Prefix{}, t.Addrs...)
		t.Settings.DNS = append([]netip.Addr{}, t.Settings.DNS...)
		change(&t)
		return k.check(t)
	}
	require.ErrorContains(t, terms(func(*takeover.Terms) {}), "was not asked for a session")
	k.attempts[1] = &attempt{server: server}
	require.NoError(t, terms(func(*takeover.Terms) {}))
	for what, change := range map[string]func(*takeover.Terms){
		"server":   func(t *takeover.Terms) { t.Server = netip.MustParseAddrPort("203.0.113.11:51820") },
		"address":  func(t *takeover.Terms) { t.Addrs[0] = netip.MustParsePrefix("10.7.0.2/8") },
		"resolver": func(t *takeover.Terms) { t.Settings.DNS[0] = netip.MustParseAddr("10.7.0.9") },
		"domain":   func(t *takeover.Terms) { t.Settings.Search = nil },
		"routes":   func(t *takeover.Terms) { t.Routes = t.Addrs },
		"MTU":      func(t *takeover.Terms) { t.MTU = 1400 },
	} {
		require.Error(t, terms(change), what)
	}

	// A file may have more resolvers than the system asks.
	for i := range byte(conf.MaxDNS - 1) {
		k.cfg.WireGuard.DNS = append(k.cfg.WireGuard.DNS, netip.AddrFrom4([4]byte{10, 7, 1, i}))
	}
	require.NoError(t, terms(func(*takeover.Terms) {}))
}

// Each peer may be asked, and looked up, at the same time as the others; but there is a bound.
func TestWireGuardAttempts(t *testing.T) {
	lab := netlab.New(t)
	server := netip.MustParseAddrPort("203.0.113.10:51820")
	k := client(t, server)
	k.cfg.WireGuard = new(conf.File)
	k.cfg.Servers = append(k.cfg.Servers, config.Endpoint{Host: "203.0.113.11", Port: 51820})
	lab.Alice.Do(func() {
		for id := range uint32(2 * maxAttempts) {
			r, err := k.dialOne(t.Context(), with(dialRequest{id, "udp", server}))
			require.NoError(t, err)
			privsep.CloseAll(r.FDs)
		}
		_, err := k.dialOne(t.Context(), with(dialRequest{1000, "udp", server}))
		require.EqualError(t, err, "more than 16 attempts at once")
		k.forget()
	})
}
