// Package liveness checks whether the goroutines that move packets are still working: each
// of them takes packets from one Link, handles them, and comes back for more. Introduced in
// step 8.
//
// A goroutine that waits for packets is fine. One that has taken some, and has not come back
// by the next check, is stuck: in a lock, in a loop, or in a call that does not return. This
// check is for a watchdog. It costs two stores to memory for each burst of packets, and sends
// nothing.
//
// It does not detect a kernel that delivers no packets, nor a network that is down or accepts
// none (see Network): a restart would help in neither case.
package liveness

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"stepvpn/shared/link"
)

// A Monitor watches Links. Its methods are safe for concurrent use.
type Monitor struct {
	mu       sync.Mutex // guards what follows
	list     []*watched
	networks []*network
}

// Watch returns a Link around l that is watched, under this name, until it is closed.
func (m *Monitor) Watch(name string, l link.Link) link.Link {
	w := &watched{Link: l, name: name}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, w)
	return w
}

// Network returns a Link around l, an end through which packets leave this host. While l
// accepts no packets, as when a network card's queue is blocked, no goroutine that holds
// packets counts as stuck.
func (m *Monitor) Network(l link.Link) link.Link {
	n := &network{Link: l}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.networks = append(m.networks, n)
	return n
}

// Check returns an error if a goroutine that reads from a watched Link has held the same
// packets since the last Check. Allow some seconds between two checks.
func (m *Monitor) Check() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := m.list[:0]
	var err error
	for _, w := range m.list {
		if w.closed.Load() {
			continue
		}
		kept = append(kept, w)
		taken := w.taken.Load()
		if taken%2 == 1 && taken == w.before && err == nil {
			err = fmt.Errorf("packets from the %s have been stuck since the last check", w.name)
		}
		w.before = taken
	}
	clear(m.list[len(kept):])
	m.list = kept
	if m.standsStill() {
		return nil
	}
	return err
}

// standsStill reports whether a network has not yet accepted a burst that was written before
// the last check. m.mu must be held.
func (m *Monitor) standsStill() bool {
	still := false
	m.networks = slices.DeleteFunc(m.networks, func(n *network) bool {
		still = still || n.taken.Load() < n.before
		n.before = n.given.Load()
		return n.closed.Load()
	})
	return still
}

// A network counts the bursts that are written to it.
type network struct {
	link.Link
	given, taken atomic.Uint64 // bursts
	closed       atomic.Bool
	before       uint64 // given at the last check; guarded by Monitor.mu
}

func (n *network) WriteBurst(b *link.Burst) error {
	n.given.Add(1)
	defer n.taken.Add(1)
	return n.Link.WriteBurst(b)
}

// PeerMoved passes it on.
func (n *network) PeerMoved(before, now netip.AddrPort) { link.PeerMoved(n.Link, before, now) }

func (n *network) Close() error {
	n.closed.Store(true)
	return n.Link.Close()
}

// A watched Link counts bursts. taken is odd while its reader handles packets.
type watched struct {
	link.Link
	name   string
	taken  atomic.Uint64
	closed atomic.Bool
	before uint64 // taken at the last check; guarded by Monitor.mu
}

func (w *watched) ReadBurst(b *link.Burst) error {
	if n := w.taken.Load(); n%2 == 1 {
		w.taken.Store(n + 1)
	}
	err := w.Link.ReadBurst(b)
	w.taken.Store(w.taken.Load() + 1)
	return err
}

// PeerMoved passes it on.
func (w *watched) PeerMoved(before, now netip.AddrPort) { link.PeerMoved(w.Link, before, now) }

func (w *watched) Close() error {
	w.closed.Store(true)
	return w.Link.Close()
}
