package hub

import (
	"fmt"
	"net/netip"
	"time"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/protocol"
)

// Second reading: a server that is changing its key has two of them for a while. Which one
// a client comes by is clear before anything is decrypted, by the code that proves that it
// knows that key (see package cookie), so no public-key operation is done in vain. All else
// the clients of both have together.

// A Key is what differs for the clients that come by another key of the server. The fields
// are those of a Config, but for Meant.
type Key struct {
	Handshake noise.Config
	Other     *noise.Config
	Settings  []byte
	Check     func(message []byte, from netip.AddrPort, underLoad, present bool, now time.Time) (initiation, reply []byte)
	// Meant reports whether an initiation is for this key. It must be fast.
	Meant func(message []byte) bool
}

// An entrance is a key at work.
type entrance struct {
	Key
	responder *secure.Responder
}

func newEntrance(k Key, cfg Config) (*entrance, error) {
	if len(k.Settings) > protocol.MaxSettings {
		return nil, fmt.Errorf("the settings for the clients take %d bytes, and there is room for %d", len(k.Settings), protocol.MaxSettings)
	}
	responder, err := secure.NewResponder(secure.Config{Handshake: k.Handshake, Other: k.Other, Drops: &cfg.Count.Drops, MTU: cfg.MTU})
	return &entrance{k, responder}, err
}

// newEntrances makes those of a Config. next is nil if there is one.
func newEntrances(cfg Config) (first, next *entrance, err error) {
	first, err = newEntrance(Key{cfg.Handshake, cfg.Other, cfg.Settings, cfg.Check, nil}, cfg)
	if err == nil && cfg.Next != nil {
		next, err = newEntrance(*cfg.Next, cfg)
	}
	return first, next, err
}

// byNext reports whether an initiation comes by the next key. One that fits no key does not.
func (h *Hub) byNext(m []byte) bool { return h.next != nil && h.next.Meant(m) }

func (h *Hub) entrance(next bool) *entrance {
	if next {
		return h.next
	}
	return h.first
}
