package hub

import (
	"fmt"
	"net/netip"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/protocol"
)

// What is the same for all clients that use one key of the server. Up to step 7 there is one
// key, and so one entrance.
//
// In step 8, a server that is changing its key has two keys for a while, and it may have one
// for clients of another program. Which of them a client uses is known before anything is
// decrypted, from the code by which it proves that it knows that key (see package cookie). So
// no public-key operation is done in vain. Everything else is shared by the clients of all keys.

// An Entrance holds what differs for clients that use another key of the server. Handshake,
// Other, Settings and Check are as in a Config.
type Entrance struct {
	Name      string // in Status and Gone; that of the Config's own key is ""
	Handshake noise.Config
	Other     *noise.Config
	Settings  []byte
	Check     func(message []byte, from netip.AddrPort, underLoad, present bool, now time.Time) (initiation, reply []byte)
	// Meant reports whether an initiation is for this key. It must be fast.
	Meant func(message []byte) bool
	// Foreign, if set, is for clients that know nothing of package protocol: see foreign.go.
	Foreign Foreign
}

// maxEntrances bounds how many codes are computed for an initiation.
const maxEntrances = 4

// An entrance is a key in use.
type entrance struct {
	Entrance
	responder *secure.Responder
	refusals  refusals
}

func newEntrance(e Entrance, cfg Config) (*entrance, error) {
	if len(e.Settings) > protocol.MaxSettings {
		return nil, fmt.Errorf("the settings for the clients take %d bytes, but there is room for only %d", len(e.Settings), protocol.MaxSettings)
	}
	responder, err := secure.NewResponder(secure.Config{
		Handshake: e.Handshake, Other: e.Other, Format: e.format(), Drops: &cfg.Count.Drops, MTU: cfg.MTU,
	})
	return &entrance{Entrance: e, responder: responder}, err
}

// newEntrances makes the entrances of a Config. The first is that of its own key.
func newEntrances(cfg Config) (list []*entrance, err error) {
	all := append([]Entrance{{"", cfg.Handshake, cfg.Other, cfg.Settings, cfg.Check, nil, nil}}, cfg.Entrances...)
	if len(all) > maxEntrances {
		return nil, app.Usage("%d keys: a server has at most %d", len(all), maxEntrances)
	}
	for _, e := range all {
		made, err := newEntrance(e, cfg)
		if err != nil {
			return nil, err
		}
		list = append(list, made)
	}
	return list, nil
}

// by returns the entrance that an initiation is for. It is the first one if the initiation is
// for none: that one's Check counts it.
func (h *Hub) by(m []byte) *entrance {
	for _, e := range h.entrances[1:] {
		if e.Meant(m) {
			return e
		}
	}
	return h.entrances[0]
}
