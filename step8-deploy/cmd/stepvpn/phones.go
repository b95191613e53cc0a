package main

import (
	"context"
	"fmt"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/admission"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step7-auth/hub"
	"stepvpn/step8-deploy/further/wireguard"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/status"
)

// This file is the server's seam for clients of the WireGuard protocol: package wireguard has
// the rest. (phone.go adds such a client; wireguard.go is a client of ours that speaks it.)

// phones are the server's clients that speak the WireGuard protocol. The zero value is a server
// that lets none in.
type phones struct {
	key   *noise.PrivateKey
	times *wireguard.Times
	twins *wireguard.Twins
}

func phonesOf(given *keeper.Handover, admitted *admission.Controller) (p phones) {
	if given.WireGuard == nil {
		return p
	}
	known := func(key noise.PublicKey) bool {
		_, known := admitted.Registry().ByKey(key)
		return known
	}
	return phones{given.WireGuard, wireguard.OpenTimes(given.Path(keeper.AskedName), known), new(wireguard.Twins)}
}

// entrance returns the hub's entrance for them.
func (p phones) entrance(own *cookie.Server) []hub.Entrance {
	if p.key == nil {
		return nil
	}
	return []hub.Entrance{wireguard.Entrance(*p.key, own, p.times)}
}

// watch notices, until ctx ends, if two devices have one key.
func (p phones) watch(ctx context.Context, clients *hub.Hub) {
	if p.key != nil {
		p.twins.Run(ctx, clients)
	}
}

// report adds to a server's status which clients these are, and by which key they know it.
func (p phones) report(r *status.Report, clients []hub.Status) {
	if p.key != nil {
		r.WireGuard = noise.FormatKey(p.key.Public())
	}
	for i, c := range clients {
		if c.By != wireguard.Name {
			continue
		}
		peer := &r.Peers[i]
		peer.Protocol = "WireGuard"
		if peer.Shared = p.twins.Has(c.Key); peer.Shared {
			r.Notes = append(r.Notes, fmt.Sprintf("two devices use the key of %s, and take turns: give each of them a key of its own ('stepvpn clients add')", c.Name))
		}
	}
}

func (p phones) close() error {
	if p.key == nil {
		return nil
	}
	return p.times.Close()
}
