package secure

import (
	"net/netip"
	"time"

	"stepvpn/shared/link"
)

// Second reading: a message whose length matters, for step 8, which finds out by it how
// long a packet the path carries.

// Probe is Conn.Control for a message that is not padded, and that no router may
// fragment, if the Link below can ask for that: it arrives only if the path carries its
// length. Sealed, it has ControlOverhead + Overhead bytes more than content.
func (c *Conn) Probe(kind byte, content []byte) error {
	m, to := c.peer.Probe(kind, content, time.Now())
	return c.say(m, to, link.Hints{DontFragment: true})
}

// Probe is Peer.Control for such a message. Who sends it asks that it is not fragmented.
func (p *Peer) Probe(kind byte, content []byte, now time.Time) (message []byte, to netip.AddrPort) {
	keys, to := p.Sending(now)
	keys.mtu = 0
	return keys.seal(appendControl(nil, kind, content)), to
}
