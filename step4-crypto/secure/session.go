package secure

import (
	"sync"
	"sync/atomic"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
)

// A session is one pair of keys, made by one handshake. Both sides have it, each
// with the two keys the other way round.
//
// It is safe for concurrent use: several goroutines may seal while others open.
type session struct {
	local, remote uint32 // the index that each side gave it
	created       time.Time
	limit         uint64 // counters from here on are refused
	drops         *link.Drops

	sending *noise.Cipher
	counter atomic.Uint64 // of the next packet to seal

	receiving *noise.Cipher
	mu        sync.Mutex // guards window
	window    window
}

// newSession takes the keys of a handshake that is done.
func newSession(h *noise.Handshake, local, remote uint32, now time.Time, cfg *Config) (*session, error) {
	sending, receiving, err := h.Split()
	if err != nil {
		return nil, err
	}
	return &session{
		local:     local,
		remote:    remote,
		created:   now,
		limit:     cfg.limits.rejectPackets,
		drops:     cfg.Drops,
		sending:   sending,
		receiving: receiving,
	}, nil
}

// expired reports whether the keys are too old to be used.
func (s *session) expired(now time.Time) bool { return now.Sub(s.created) >= rejectAfterTime }

// seal appends a data message to dst, with plaintext in it; the two must not
// overlap. It reports false rather than use a counter twice: the keys are worn
// out. It allocates nothing if dst has room for Overhead bytes more than
// plaintext has.
func (s *session) seal(dst, plaintext []byte) ([]byte, bool) {
	if s.counter.Load() >= s.limit {
		return dst, false
	}
	counter := s.counter.Add(1) - 1 // from here on it is taken, whoever else seals
	if counter >= s.limit {
		return dst, false
	}
	start := len(dst)
	dst = appendDataHeader(dst, s.remote, counter)
	return s.sending.Seal(dst, counter, dst[start:], plaintext), true
}

// open returns what is inside d, decrypted in place. Else it counts why not, and
// reports false.
func (s *session) open(d data) (plaintext []byte, ok bool) {
	if d.counter >= s.limit {
		s.drops.Add(NoSession)
		return nil, false
	}
	// Look before opening: a replay costs no decryption.
	s.mu.Lock()
	fresh := s.window.fresh(d.counter)
	s.mu.Unlock()
	if !fresh {
		s.drops.Add(Replayed)
		return nil, false
	}
	plaintext, err := s.receiving.Open(d.sealed[:0], d.counter, d.header, d.sealed)
	if err != nil {
		s.drops.Add(BadTag)
		return nil, false
	}
	// Look again: a copy may have been opened at the same time.
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.window.fresh(d.counter) {
		s.drops.Add(Replayed)
		return nil, false
	}
	s.window.mark(d.counter)
	return plaintext, true
}
