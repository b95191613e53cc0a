package hub

import (
	"fmt"
	"net/netip"
	"time"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/protocol"
)

// What is the same for all clients that use one key of the server. Up to step 7 there is one
// key, and so one entrance.
//
// In step 8, a server that is changing its key has two keys for a while. Which of them a
// client uses is known before anything is decrypted, from the code by which it proves that it
// knows that key (see package cookie). So no public-key operation is done in vain. Everything
// else is shared by the clients of both keys.

// A Key holds what differs for clients that use another key of the server. Except for
// Meant, the fields are those of a Config.
type Key struct {
	Handshake noise.Config
	Other     *noise.Config
	Settings  []byte
	Check     func(message []byte, from netip.AddrPort, underLoad, present bool, now time.Time) (initiation, reply []byte)
	// Meant reports whether an initiation is for this key. It must be fast.
	Meant func(message []byte) bool
}

// An entrance is a key in use.
type entrance struct {
	Key
	responder *secure.Responder
}

func newEntrance(k Key, cfg Config) (*entrance, error) {
	if len(k.Settings) > protocol.MaxSettings {
		return nil, fmt.Errorf("the settings for the clients take %d bytes, but there is room for only %d", len(k.Settings), protocol.MaxSettings)
	}
	responder, err := secure.NewResponder(secure.Config{Handshake: k.Handshake, Other: k.Other, Drops: &cfg.Count.Drops, MTU: cfg.MTU})
	return &entrance{k, responder}, err
}

// newEntrances makes the entrances of a Config. next is nil if there is only one.
func newEntrances(cfg Config) (first, next *entrance, err error) {
	first, err = newEntrance(Key{cfg.Handshake, cfg.Other, cfg.Settings, cfg.Check, nil}, cfg)
	if err == nil && cfg.Next != nil {
		next, err = newEntrance(*cfg.Next, cfg)
	}
	return first, next, err
}

// byNext reports whether an initiation is for the next key. It is false if the initiation
// is for neither key.
func (h *Hub) byNext(m []byte) bool { return h.next != nil && h.next.Meant(m) }

// entrance returns that of the next key or of the first one.
func (h *Hub) entrance(next bool) *entrance {
	if next {
		return h.next
	}
	return h.first
}
