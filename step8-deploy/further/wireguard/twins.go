package wireguard

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/hub"
)

// This file notices that two devices have the same key. They can't be told apart, so they take
// turns: whichever has asked last gets the packets. What gives them away is that new keys are
// agreed on from one address, then from another, then from the first one again. (A device that
// moves to another network keeps its keys, and an address that it has left is mostly gone.)

// Twins are the clients whose key seems to be on two devices. The zero value knows none. Its
// methods are safe for concurrent use.
type Twins struct {
	mu    sync.Mutex // guards all below
	turns map[noise.PublicKey]*turns
}

// turns is what was seen of one key.
type turns struct {
	now, before netip.AddrPort // where its present keys were agreed on, and those before
	handshake   time.Time
	back        int       // how often the keys went back to the address before
	at          time.Time // when that last happened
	told        bool
}

const (
	lookEvery  = time.Second
	backTwice  = 2                // this often is no chance...
	backWithin = 10 * time.Minute // ...if it happens again within this time
)

// Run looks at the clients of a hub until ctx ends.
func (t *Twins) Run(ctx context.Context, h *hub.Hub) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			t.look(h.Snapshot(), now)
		}
	}
}

// look takes note of the clients that are there, and logs what is new.
func (t *Twins) look(list []hub.Status, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.turns == nil {
		t.turns = make(map[noise.PublicKey]*turns)
	}
	for _, c := range list {
		if c.By != Name {
			continue
		}
		s := t.turns[c.Key]
		if s == nil {
			s = &turns{now: c.Endpoint, handshake: c.Handshake, at: now}
			t.turns[c.Key] = s
		}
		s.look(c, now)
	}
	for key, s := range t.turns {
		if now.Sub(s.at) >= backWithin && now.Sub(s.handshake) >= backWithin {
			delete(t.turns, key)
		}
	}
}

func (s *turns) look(c hub.Status, now time.Time) {
	if now.Sub(s.at) >= backWithin {
		s.back, s.told = 0, false
	}
	switch {
	case c.Handshake.Equal(s.handshake): // it may have moved
		s.now = c.Endpoint
		return
	case c.Endpoint == s.now:
	case c.Endpoint == s.before:
		s.back, s.at = s.back+1, now
		s.before, s.now = s.now, c.Endpoint
	default:
		s.before, s.now = s.now, c.Endpoint
	}
	s.handshake = c.Handshake
	if s.back >= backTwice && !s.told {
		s.told = true
		slog.Warn("two devices use the key of one client, and take turns: give each of them a key of its own",
			"client", c.Name, "peer", s.now, "before", s.before)
	}
}

// Has reports whether two devices seem to use a client's key.
func (t *Twins) Has(key noise.PublicKey) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.turns[key]
	return s != nil && s.back >= backTwice
}
