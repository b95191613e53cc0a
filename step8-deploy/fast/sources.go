package fast

import (
	"hash/maphash"
	"net/netip"
	"sync"
)

// sources remembers at which of a server's addresses each peer has called, so
// that it is answered from there. Else a host with several addresses answers from
// the one that its routes prefer, and a client drops that.
//
// It forgets: a peer may take the place of another one. Who is forgotten is
// answered from the preferred address until it is heard again. So anybody can
// make a server of several addresses use the wrong one, by a flood, or with the
// forged address of a peer, and it lasts until the peer's next packet.
//
// Sockets that share a port share their sources. It is safe for concurrent use.
type sources struct {
	seed  maphash.Seed // so that nobody can choose whose place they take
	mu    sync.Mutex   // guards slots
	slots [sourceSlots]source
}

const sourceSlots = 4096 // takes 230 KB

type source struct {
	peer  netip.AddrPort
	local netip.Addr
}

// newSources returns sources that know nobody.
func newSources() *sources { return &sources{seed: maphash.MakeSeed()} }

func (s *sources) slot(peer netip.AddrPort) *source {
	return &s.slots[maphash.Comparable(s.seed, peer)%sourceSlots]
}

// learn notes that peer has called at local.
func (s *sources) learn(peer netip.AddrPort, local netip.Addr) {
	slot := s.slot(peer)
	s.mu.Lock()
	defer s.mu.Unlock()
	*slot = source{peer, local}
}

// of returns the address that peer has called at, or the zero value.
func (s *sources) of(peer netip.AddrPort) netip.Addr {
	slot := s.slot(peer)
	s.mu.Lock()
	defer s.mu.Unlock()
	if slot.peer != peer {
		return netip.Addr{}
	}
	return slot.local
}
