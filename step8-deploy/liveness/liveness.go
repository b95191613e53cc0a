// Package liveness tells whether the goroutines that move packets still turn: each
// takes packets from one Link, deals with them, and comes back for more.
// Introduced in step 8.
//
// One that waits for packets is well. One that has taken some, and has not come
// back by the next check, is stuck: in a lock, in a loop, or in a call that does
// not return. That is what a watchdog is for. It costs two stores to memory for
// each burst of packets, and nothing is sent.
//
// What is not covered is a kernel that brings no packets, or a network that is down, or
// takes none (see Network): a new start would mend neither.
package liveness

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"stepvpn/shared/link"
)

// A Monitor watches Links. Its methods may be called from any goroutine.
type Monitor struct {
	mu       sync.Mutex // guards what follows
	list     []*watched
	networks []*network
}

// Watch returns l, watched under a name. It is watched until it is closed.
func (m *Monitor) Watch(name string, l link.Link) link.Link {
	w := &watched{Link: l, name: name}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, w)
	return w
}

// Network returns l, an end from which packets leave this host. While it does not take
// them, as when the queue of a network card stands still, nobody who has some is blamed.
func (m *Monitor) Network(l link.Link) link.Link {
	n := &network{Link: l}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.networks = append(m.networks, n)
	return n
}

// Check returns an error if whoever reads from a Link has had the same packets since
// the last Check. Give it time to deal with some in between: seconds.
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
			err = fmt.Errorf("packets from the %s have been in work since the last check", w.name)
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

// standsStill tells whether a network has not taken what was written before the last
// check. m.mu must be held.
func (m *Monitor) standsStill() bool {
	still := false
	m.networks = slices.DeleteFunc(m.networks, func(n *network) bool {
		still = still || n.taken.Load() < n.before
		n.before = n.given.Load()
		return n.closed.Load()
	})
	return still
}

// A network counts what is written to it.
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

// A watched Link counts. taken is odd while its reader deals with packets.
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
