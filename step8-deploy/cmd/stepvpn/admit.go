package main

import (
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/admission"
	"stepvpn/step7-auth/hub"
	"stepvpn/step8-deploy/beside"
	"stepvpn/step8-deploy/further/limits"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/lastseen"
	"stepvpn/step8-deploy/pathmtu"
)

// A gate is the hub's Admission: step 7's Controller, with five things added. Lookup knows
// the pre-shared keys of clients that have one of their own, and what a client may use. Left notes when clients leave,
// and ends the bounds of their paths: they may come back by another one.
// Lease gives out no address of a subnet that the host can't serve now; the client keeps its
// lease.
type gate struct {
	*admission.Controller
	subnets []netip.Prefix
	seen    *lastseen.Log
	host    *keeper.RemoteServer
	change  keyChange
	limited *limits.Table
	paths   pathmtu.Bounds
}

func (s gate) Lookup(key noise.PublicKey) (hub.Account, bool) {
	a, known := s.Controller.Lookup(key)
	if a.OwnPSK {
		a.PSK = s.host.OwnPSK(key)
	}
	if c := s.limited.Of(key); c != nil {
		a.Shaper, a.Refused = c, c.Refused()
	}
	return a, known
}

func (s gate) Left(gone []hub.Gone) {
	for _, g := range gone {
		if g.In {
			s.seen.Note(g.Key, time.Now(), s.change.key(g.By))
		}
		s.paths.Drop(g.Addrs)
	}
	s.Controller.Left(gone)
}

func (s gate) Lease(key noise.PublicKey, now time.Time) ([]netip.Prefix, error) {
	leases, err := s.Controller.Lease(key, now)
	return slices.DeleteFunc(leases, func(l netip.Prefix) bool {
		return !slices.ContainsFunc(s.subnets, func(n netip.Prefix) bool { return n.Contains(l.Addr()) })
	}), err
}

// forgetting hands the addresses of clients that have left to the keeper, which makes the
// kernel forget their connections. Looking through 150,000 connections takes most of a second,
// in which no client would get in: so it is done in the background.
func forgetting(host *keeper.RemoteServer) *beside.Queue[netip.Addr, struct{}] {
	return beside.New(0, func(gone map[netip.Addr]struct{}) {
		if err := host.Forget(slices.Collect(maps.Keys(gone))); err != nil {
			slog.Warn("could not clean up after a client", "error", err)
		}
	})
}
