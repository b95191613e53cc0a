package fast

import (
	"hash/maphash"
	"net/netip"
	"sync"
)

// sources remembers which of a server's addresses each peer has sent to, so that the answer
// has that address as its source. Otherwise a host with several addresses answers from the
// one that its routes prefer, and the client drops the answer.
//
// The memory is limited: one peer may replace another. A forgotten peer is answered from the
// preferred address until its next packet. So an attacker can make a server with several
// addresses answer from the wrong one, with a flood or with forged packets of the peer; but
// only until the peer's next packet.
//
// Sockets that share a port share their sources. It is safe for concurrent use.
type sources struct {
	seed  maphash.Seed // so that an attacker can't choose which peer to replace
	mu    sync.Mutex   // guards slots
	slots [sourceSlots]source
}

const sourceSlots = 4096 // takes 230 KB

type source struct {
	peer  netip.AddrPort
	local netip.Addr
}

// newSources returns sources that know no peers.
func newSources() *sources { return &sources{seed: maphash.MakeSeed()} }

func (s *sources) slot(peer netip.AddrPort) *source {
	return &s.slots[maphash.Comparable(s.seed, peer)%sourceSlots]
}

// learn records that peer has sent to local.
func (s *sources) learn(peer netip.AddrPort, local netip.Addr) {
	slot := s.slot(peer)
	s.mu.Lock()
	defer s.mu.Unlock()
	*slot = source{peer, local}
}

// of returns the address that peer has last sent to, or the zero value.
func (s *sources) of(peer netip.AddrPort) netip.Addr {
	slot := s.slot(peer)
	s.mu.Lock()
	defer s.mu.Unlock()
	if slot.peer != peer {
		return netip.Addr{}
	}
	return slot.local
}
