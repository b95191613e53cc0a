package hub

import (
	"net/netip"

	"stepvpn/step4-crypto/noise"
)

// Second reading: what happens to clients, for whoever wants to be told (Config.Events). Step 8
// shows it to operators.

// An Event is what has happened to a client.
type Event struct {
	What   string // Connected, Disconnected, or TurnedAway
	Name   string // for a key that is not in the registry, a text that says so
	Key    noise.PublicKey
	Addrs  []netip.Addr   // in the tunnel; none for TurnedAway
	From   netip.AddrPort // where it has asked to come in
	Reason string         // "" for Connected
}

// What can happen to a client.
const (
	Connected    = "connected"    // its packets pass from now on
	Disconnected = "disconnected" // they have passed until now
	TurnedAway   = "refused"      // it has asked to come in, and may not
)

// happened reports an event of a client that is, or was, there. The caller holds the directory's mu, so
// that the events of a client come in their order.
func (c *client) happened(what, why string) {
	if tell := c.hub.cfg.Events; tell != nil {
		tell(Event{What: what, Name: c.name, Key: c.key, Addrs: c.addrs, From: c.from, Reason: why})
	}
}

// turnedAway reports that somebody is refused.
func (h *Hub) turnedAway(name string, key noise.PublicKey, k *handshake, why string) {
	if h.cfg.Events != nil {
		h.cfg.Events(Event{What: TurnedAway, Name: name, Key: key, From: k.from, Reason: why})
	}
}
