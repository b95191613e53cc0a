package hub

import (
	"net/netip"
	"sync"
	"time"
)

// Second reading: the shares of the handshake queue.
//
// The server knows which client sent an initiation only after it has decrypted it, which
// is just the work that a flood is meant to cause. It knows the source address before
// that; and under load, that address is proven (package cookie). So besides the queue for
// all, there is one for the endpoints of connected clients, which need their next keys,
// and one for hosts that recently had a client, which may come back. The queues take
// turns as long as something waits in them, and part of the handshakes that may be
// answered is reserved for each of these two. A flood of strangers fills only the queue
// for all.

const (
	shareLength = queueLength / 4

	// Of the handshakes that may be answered, this many are reserved: for connected
	// clients, and for both these and clients that recently were connected.
	keptForPresent = 50
	keptForRecent  = 100

	lookAround = 2 * time.Second  // how often the clients' endpoints are noted
	lately     = 30 * time.Minute // how long a host counts as recent, at least; at most twice as long
	maxRecent  = 16384            // hosts noted in one such time
)

// shares holds the queues besides the one for all, and the endpoints and hosts that they
// are for. It is safe for concurrent use.
type shares struct {
	present, recent chan handshake

	mu        sync.Mutex                  // guards all below
	endpoints map[netip.AddrPort]struct{} // the endpoints of connected clients
	hosts     map[netip.Prefix]struct{}   // hosts that have had a client since begun
	before    map[netip.Prefix]struct{}   // hosts that had one in the period before
	begun     time.Time
	looked    time.Time
}

func (s *shares) init() {
	s.present, s.recent = make(chan handshake, shareLength), make(chan handshake, shareLength)
	s.hosts = make(map[netip.Prefix]struct{})
}

// of returns the queue for an initiation from an endpoint, or nil for the queue for all,
// and whether a connected client is at that endpoint.
func (s *shares) of(from netip.AddrPort) (queue chan handshake, present bool) {
	host := hostOf(from)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.endpoints[from]; ok {
		return s.present, true
	}
	_, ok := s.hosts[host]
	if !ok {
		_, ok = s.before[host]
	}
	if ok {
		return s.recent, false
	}
	return nil, false
}

// long reports whether one of the queues is long enough for the server to be under load.
func (s *shares) long() bool {
	const long = shareLength / (queueLength / loadQueue)
	return len(s.present) > long || len(s.recent) > long
}

// waiting returns the queues that may be answered if budget handshakes may be answered in
// total, and nil for the others. all is the queue for all.
func (s *shares) waiting(all chan handshake, budget int) (present, recent, others chan handshake) {
	if budget > 0 {
		present = s.present
	}
	if budget > keptForPresent {
		recent = s.recent
	}
	if budget > keptForRecent {
		others = all
	}
	return present, recent, others
}

// look notes the endpoints of the connected clients, once per lookAround.
func (s *shares) look(clients []*client, now time.Time) {
	if now.Sub(s.looked) < lookAround { // not under mu: only the clock calls this
		return
	}
	s.looked = now
	endpoints := make(map[netip.AddrPort]struct{}, len(clients))
	for _, c := range clients {
		if c.state.Load() != open {
			continue
		}
		if at := c.peer.Status().Peer; at.IsValid() {
			endpoints[at] = struct{}{}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endpoints = endpoints
	if now.Sub(s.begun) >= lately {
		s.hosts, s.before, s.begun = make(map[netip.Prefix]struct{}), s.hosts, now
	}
	for at := range endpoints {
		if len(s.hosts) == maxRecent {
			return
		}
		s.hosts[hostOf(at)] = struct{}{}
	}
}

// hostOf returns the network that counts as one host: an IPv4 address or an IPv6 /64.
func hostOf(at netip.AddrPort) netip.Prefix {
	bits := 64
	addr := at.Addr().Unmap().WithZone("")
	if addr.Is4() {
		bits = 32
	}
	p, _ := addr.Prefix(bits)
	return p
}
