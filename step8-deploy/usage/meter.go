package usage

import (
	"sync"
	"time"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/hub"
)

// A meter turns the counters of sessions, which begin at 0 with each session, into what was
// added since it last looked. Its method ended is safe for concurrent use.
type meter struct {
	mu   sync.Mutex // guards over
	over []ended    // sessions that have ended since it last looked

	// Only the goroutine that calls look uses these.
	sessions map[sessionID]*session
	added    map[Client]*Counts
	round    uint64
}

// A sessionID is what no other session has.
type sessionID struct {
	key   noise.PublicKey
	since int64 // nanoseconds
}

// A session is what is known of one.
type session struct {
	counted   hub.Status // all of this has been added already
	connected uint64     // seconds, likewise
	round     uint64     // in which it was last seen
}

type ended struct {
	hub.Status
	at time.Time
}

func newMeter() *meter {
	return &meter{sessions: make(map[sessionID]*session), added: make(map[Client]*Counts)}
}

// ended notes the last status of a session.
func (m *meter) ended(s hub.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.over = append(m.over, ended{s, time.Now()})
}

// look returns what each client has used since look was last called. The result is valid until
// the next call.
//
// It takes the list of the sessions first, and then of those that have ended. So a session
// that ended in between is in both, and never comes back after its end.
func (m *meter) look(now time.Time, snapshot func() []hub.Status) map[Client]*Counts {
	there := snapshot()
	m.mu.Lock()
	over := m.over
	m.over = nil
	m.mu.Unlock()

	clear(m.added)
	m.round++
	for _, s := range there {
		if s.LoggedIn {
			m.add(s, now, false)
		}
	}
	for _, s := range over {
		m.add(s.Status, s.at, true)
		delete(m.sessions, idOf(s.Status))
	}
	for id, s := range m.sessions {
		if s.round != m.round {
			delete(m.sessions, id)
		}
	}
	return m.added
}

func idOf(s hub.Status) sessionID { return sessionID{s.Key, s.Since.UnixNano()} }

// add adds what has come to a session.
func (m *meter) add(s hub.Status, now time.Time, atEnd bool) {
	id := idOf(s)
	is := m.sessions[id]
	if is == nil {
		is = new(session)
		m.sessions[id] = is
	}
	is.round = m.round
	before := is.counted
	d := Counts{
		ReceivedBytes:   more(s.ReceivedBytes, before.ReceivedBytes),
		ReceivedPackets: more(s.ReceivedPackets, before.ReceivedPackets),
		SentBytes:       more(s.SentBytes, before.SentBytes),
		SentPackets:     more(s.SentPackets, before.SentPackets),
		Drops:           more(s.Dropped, before.Dropped),
	}
	if !s.Handshake.IsZero() && !s.Handshake.Equal(before.Handshake) {
		d.Handshakes = 1
	}
	// Both times have a reading of the monotonic clock: see package time.
	age := max(0, now.Sub(s.Since))
	if atEnd {
		age += time.Second - 1 // so that a session of half a second counts, too
	}
	d.Connected = more(uint64(age/time.Second), is.connected)
	is.connected += d.Connected
	is.counted = s
	is.counted.Addrs = nil // which nobody needs
	if d == (Counts{}) {
		return
	}
	who := Client{s.Key, s.Name}
	if m.added[who] == nil {
		m.added[who] = new(Counts)
	}
	m.added[who].Add(d)
}

// more returns how much larger a counter has become.
func more(now, before uint64) uint64 {
	if now < before {
		return 0
	}
	return now - before
}
