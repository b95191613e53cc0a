package secure

import (
	"sync"
	"sync/atomic"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
)

// A keypair is two keys, one for each direction, made by one handshake. Both sides have
// it, each with the two keys the other way round.
//
// Several goroutines may seal at the same time. Who opens holds mu.
type keypair struct {
	peer          *Peer
	local, remote uint32 // the index that each side gave it
	created       time.Time
	limit         uint64 // counters from here on are refused

	sending *noise.Cipher
	counter atomic.Uint64 // of the next packet to seal

	receiving *noise.Cipher // nil as long as the keys are being agreed on
	mu        sync.Mutex    // guards window; held while a run of packets is opened
	window    window
}

// newKeypair takes the keys of a handshake that is done.
func newKeypair(h *noise.Handshake, reserved *keypair, remote uint32, now time.Time) (*keypair, error) {
	sending, receiving, err := h.Split()
	if err != nil {
		return nil, err
	}
	return &keypair{
		peer:      reserved.peer,
		local:     reserved.local,
		remote:    remote,
		created:   now,
		limit:     reserved.peer.cfg.limits.rejectPackets,
		sending:   sending,
		receiving: receiving,
	}, nil
}

// expired reports whether the keys are too old to be used, or not there yet.
func (s *keypair) expired(now time.Time) bool {
	return s.receiving == nil || now.Sub(s.created) >= rejectAfterTime
}

// seal appends a data message to dst, with plaintext and its padding in it, length
// bytes together; plaintext must not overlap dst. It reports false rather than
// use a counter twice: the keys are worn out. It allocates nothing if dst has room
// for length + Overhead bytes.
func (s *keypair) seal(dst, plaintext []byte, length int) ([]byte, bool) {
	if s.counter.Load() >= s.limit {
		return dst, false
	}
	counter := s.counter.Add(1) - 1 // from here on it is taken, whoever else seals
	if counter >= s.limit {
		return dst, false
	}
	start := len(dst)
	dst = appendDataHeader(dst, s.remote, counter)
	header := dst[start:]
	if length > len(plaintext) {
		// Behind plaintext the next packet may lie, so zeros can't be written there:
		// it goes to dst first, is padded there, and is sealed in place.
		inside := append(dst, plaintext...)
		inside = append(inside, zeros[:length-len(plaintext)]...)
		plaintext = inside[len(dst):]
	}
	return s.sending.Seal(dst, counter, header, plaintext), true
}

var zeros [16]byte

// open returns what is inside d, decrypted in place, or why it is dropped. The
// caller holds mu.
func (s *keypair) open(d data) (plaintext []byte, why link.Reason, ok bool) {
	if d.counter >= s.limit {
		return nil, NoSession, false
	}
	// Look before opening: a replay costs no decryption. Mark after it: a forged
	// packet does not move the window.
	if !s.window.fresh(d.counter) {
		return nil, Replayed, false
	}
	plaintext, err := s.receiving.Open(d.sealed[:0], d.counter, d.header, d.sealed)
	if err != nil {
		return nil, BadTag, false
	}
	s.window.mark(d.counter)
	return plaintext, 0, true
}
