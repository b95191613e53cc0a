package hub

import (
	"net/netip"
	"sync"
	"time"
)

// Second reading: the shares of the handshake queue.
//
// Whose initiation it is shows only when it has been read, which is the work that a
// flood asks for. Where it comes from shows before; and under load that is proven
// (package cookie). So beside the queue for all there are one for the endpoints of
// clients that are there, who need their next keys, and one for hosts where a client has
// been lately, who come back. Each has its turn as long as something waits in it, and the
// last of the work that may be done is kept for the first. A flood of strangers fills
// the queue for all, and no other.

const (
	shareLength = queueLength / 4

	// Of the handshakes that may be answered, so many are kept: for those who are there,
	// and for them and those who were lately.
	keptForPresent = 50
	keptForRecent  = 100

	lookAround = 2 * time.Second  // how often it is noted where clients are
	lately     = 30 * time.Minute // and up to twice as long
	maxRecent  = 16384            // hosts noted in one such time
)

// shares are the queues beside the one for all, and who has a share. It is safe for
// concurrent use.
type shares struct {
	present, recent chan handshake

	mu        sync.Mutex                  // guards all below
	endpoints map[netip.AddrPort]struct{} // of clients that are there
	hosts     map[netip.Prefix]struct{}   // where clients were since begun
	before    map[netip.Prefix]struct{}   // and in the time before
	begun     time.Time
	looked    time.Time
}

func (s *shares) init() {
	s.present, s.recent = make(chan handshake, shareLength), make(chan handshake, shareLength)
	s.hosts = make(map[netip.Prefix]struct{})
}

// of returns the queue for an initiation from an endpoint, nil for that for all, and
// whether a client is there.
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

// long reports whether one of the queues is.
func (s *shares) long() bool {
	const long = shareLength / (queueLength / loadQueue)
	return len(s.present) > long || len(s.recent) > long
}

// waiting returns those of the queues, with the one for all, that may be answered when
// so many handshakes may be.
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

// look notes where the clients are that are there.
func (s *shares) look(clients []*client, now time.Time) {
	if now.Sub(s.looked) < lookAround { // only the clock comes here
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

// hostOf returns what is taken for one host: an IPv4 address or an IPv6 /64.
func hostOf(at netip.AddrPort) netip.Prefix {
	bits := 64
	addr := at.Addr().Unmap().WithZone("")
	if addr.Is4() {
		bits = 32
	}
	p, _ := addr.Prefix(bits)
	return p
}
