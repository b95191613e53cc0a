package secure

import (
	"log/slog"
	"sync"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
)

// A responder is the server's side of handshakes. It answers initiations, and
// only those that authenticate, so nobody without a key learns that it is there.
//
// It answers each initiation once. It remembers the ephemeral keys of the last
// rememberedInitiations, so a copy, be it by the network or by an attacker, is
// dropped. An initiation that was recorded longer ago than that does get an
// answer. The answer leads nowhere: its new keys are not used before a packet
// arrives under them, and only who made the initiation can seal one.
//
// Work and memory are bounded. With NNpsk0 an initiation that does not
// authenticate costs some hashing. One that does costs two X25519 operations,
// and there are no more than answersPerSecond of them.
//
// It is safe for concurrent use.
type responder struct {
	cfg *Config

	mu      sync.Mutex // guards all below
	seen    memory
	second  time.Time // begin of the second that answers counts
	answers int
}

// answer returns the response to m and the session that comes of it. local is
// to name the session. Else it counts why not, and reports false.
func (r *responder) answer(m initiation, local uint32, now time.Time) (reply []byte, s *session, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()

	ephemeral := noise.PublicKey(m.noise[:noise.KeyLen])
	if r.seen.has(ephemeral) {
		return r.drop(Replayed)
	}
	q, err := readRequest(r.cfg, m)
	if err != nil {
		return r.drop(BadTag)
	}
	if !r.allow(now) {
		// Clients ask once in two minutes, or a few times in a row. So many
		// good initiations are recorded ones.
		return r.drop(Replayed)
	}
	r.seen.add(ephemeral)

	if err := r.cfg.OnPayload(q.payload); err != nil {
		slog.Warn("a client is refused", "error", err)
		return r.drop(BadMessage)
	}
	reply, s, err = q.accept(local, r.cfg.NewPayload(), now)
	if err != nil {
		return r.drop(BadTag)
	}
	return reply, s, true
}

func (r *responder) drop(why link.Reason) ([]byte, *session, bool) {
	r.cfg.Drops.Add(why)
	return nil, nil, false
}

// allow reports whether one more answer may be given in this second.
func (r *responder) allow(now time.Time) bool {
	if now.Sub(r.second) >= time.Second {
		r.second, r.answers = now, 0
	}
	r.answers++
	return r.answers <= answersPerSecond
}

// A memory holds the last rememberedInitiations keys that were added. The zero
// value is empty.
type memory struct {
	keys map[noise.PublicKey]bool
	ring [rememberedInitiations]noise.PublicKey // in the order of arrival
	next int                                    // the place in ring of the next key
}

func (m *memory) has(key noise.PublicKey) bool { return m.keys[key] }

func (m *memory) add(key noise.PublicKey) {
	if m.keys == nil {
		m.keys = make(map[noise.PublicKey]bool)
	}
	delete(m.keys, m.ring[m.next]) // the oldest, or none
	m.ring[m.next] = key
	m.keys[key] = true
	m.next = (m.next + 1) % len(m.ring)
}
