package dashboard

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"sync"
	"time"
)

// The limits of sessions.
const (
	idleFor     = 30 * time.Minute // a session ends when nothing was asked for this long...
	lastsFor    = 12 * time.Hour   // ...and after this time in any case
	maxSessions = 16               // at the same time: all belong to the one who has the password
	idSize      = 32               // bytes of a session's ID
)

// errEnded is why the context of a session has ended.
var errEnded = errors.New("the session has ended")

// Sessions are those who are logged in. A session is known by a random ID, which only its browser
// has. Here is only a hash of it, so whoever can read this memory, or learns by how long a
// comparison takes, can't act for the browser. The zero value is ready. Its methods are safe
// for concurrent use.
type Sessions struct {
	mu   sync.Mutex // guards open
	open map[[sha256.Size]byte]*session
}

type session struct {
	begun, used time.Time
	ctx         context.Context // ends when the session does
	end         context.CancelCauseFunc
	streams     int // that are under way
}

// ended reports whether the session is too old.
//
//exercise:1
func (s *session) ended(now time.Time) bool {
	return now.Sub(s.used) >= idleFor || now.Sub(s.begun) >= lastsFor
}

// Begin begins a session and returns its ID, of 43 characters. If there are too many, the one that
// was idle for longest ends.
//
//exercise:1
func (s *Sessions) Begin(now time.Time) (id string) {
	random := make([]byte, idSize)
	rand.Read(random) // it never fails
	id = base64.RawURLEncoding.EncodeToString(random)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	if len(s.open) >= maxSessions {
		s.endIdlest()
	}
	if s.open == nil {
		s.open = make(map[[sha256.Size]byte]*session)
	}
	ctx, end := context.WithCancelCause(context.Background())
	s.open[sha256.Sum256([]byte(id))] = &session{begun: now, used: now, ctx: ctx, end: end}
	return id
}

// Use reports whether there is a session with this ID. The context ends when the session does. asked says
// that a person has asked for something: that keeps the session alive, and what a page asks for by itself
// doesn't.
//
//exercise:1
func (s *Sessions) Use(id string, now time.Time, asked bool) (ctx context.Context, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	found := s.open[sha256.Sum256([]byte(id))]
	if found == nil {
		return nil, false
	}
	if asked {
		found.used = now
	}
	return found.ctx, true
}

// End ends the session with this ID, if there is one.
func (s *Sessions) End(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(sha256.Sum256([]byte(id)))
}

// EndAll ends all sessions.
func (s *Sessions) EndAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.open {
		s.remove(key)
	}
}

// sweep removes what is too old. s.mu is held.
func (s *Sessions) sweep(now time.Time) {
	for key, one := range s.open {
		if one.ended(now) {
			s.remove(key)
		}
	}
}

// endIdlest needs s.mu.
func (s *Sessions) endIdlest() {
	var idlest [sha256.Size]byte
	var since time.Time
	for key, one := range s.open {
		if since.IsZero() || one.used.Before(since) {
			idlest, since = key, one.used
		}
	}
	s.remove(idlest)
}

// remove needs s.mu.
func (s *Sessions) remove(key [sha256.Size]byte) {
	if one := s.open[key]; one != nil {
		one.end(errEnded)
		delete(s.open, key)
	}
}
