package main

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/supervise"
)

// resolve looks up a server's address in the underlay.
func (n *node) resolve(ctx context.Context, name string) ([]netip.Addr, error) {
	servers, err := n.keeper.Nameservers()
	if err != nil {
		return nil, err
	}
	var attempts []*keeper.Attempt
	var mu sync.Mutex
	defer func() {
		for _, a := range attempts {
			a.Close()
		}
	}()
	r := supervise.Resolver{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		a := n.keeper.Attempt()
		mu.Lock()
		attempts = append(attempts, a)
		mu.Unlock()
		return a.DialContext(ctx, network, address)
	}}
	for _, a := range servers {
		r.Nameservers = append(r.Nameservers, netip.AddrPortFrom(a, 53))
	}
	return r.Lookup(ctx, name)
}
