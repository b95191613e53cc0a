package secure

import (
	"sync"
	"sync/atomic"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
)

// A keypair is two keys, one for each direction, made by one handshake. The other side
// has the same two keys, with the directions swapped.
//
// Several goroutines may seal at the same time. A goroutine that opens must hold mu.
type keypair struct {
	peer          *Peer
	local, remote uint32 // the indexes that this side and the other one gave it
	created       time.Time
	limit         uint64 // counters from here on are refused

	sending *noise.Cipher
	counter atomic.Uint64 // of the next packet to seal

	receiving *noise.Cipher // nil until the keys have been agreed on
	mu        sync.Mutex    // guards window; held while a run of packets is opened
	window    window
}

// newKeypair returns the keypair that a completed handshake has produced, with the index
// of reserved.
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

// seal appends a data message to dst that contains plaintext, padded to length bytes;
// plaintext must not overlap dst. It returns false if the keys are worn out, because a
// counter must not be used twice. It allocates nothing if dst has room for length +
// Overhead bytes.
func (s *keypair) seal(dst, plaintext []byte, length int) ([]byte, bool) {
	if s.counter.Load() >= s.limit {
		return dst, false
	}
	counter := s.counter.Add(1) - 1 // no other goroutine can get the same one
	if counter >= s.limit {
		return dst, false
	}
	start := len(dst)
	dst = appendDataHeader(dst, s.remote, counter)
	header := dst[start:]
	if length > len(plaintext) {
		// The memory after plaintext may hold the next packet, so no zeros can be
		// written there: plaintext is copied to dst, padded there, and sealed in place.
		inside := append(dst, plaintext...)
		inside = append(inside, zeros[:length-len(plaintext)]...)
		plaintext = inside[len(dst):]
	}
	return s.sending.Seal(dst, counter, header, plaintext), true
}

var zeros [16]byte

// open returns the content of d, decrypted in place, or the reason why d is dropped. The
// caller must hold mu.
func (s *keypair) open(d data) (plaintext []byte, why link.Reason, ok bool) {
	if d.counter >= s.limit {
		return nil, NoSession, false
	}
	// Check the window before decrypting, so that a replay costs no decryption. Mark
	// the counter only afterwards, so that a forged packet does not move the window.
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
