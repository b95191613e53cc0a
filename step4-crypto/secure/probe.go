package secure

import (
	"net/netip"
	"time"

	"stepvpn/shared/link"
)

// Second reading: a message whose length matters. Step 8 uses it to find out how long a
// packet the path carries.

// Probe is Conn.Control for a message that is not padded, and that no router may
// fragment, if the Link below supports that: it arrives only if the path carries a
// message of its length. Sealed, it is ControlOverhead + Overhead bytes longer than
// content.
func (c *Conn) Probe(kind byte, content []byte) error {
	m, to := c.peer.Probe(kind, content, time.Now())
	return c.say(m, to, link.Hints{DontFragment: true})
}

// Probe is Peer.Control for such a message. The caller must send it with the hint
// DontFragment.
func (p *Peer) Probe(kind byte, content []byte, now time.Time) (message []byte, to netip.AddrPort) {
	if p.cfg.Format != nil { // it has no such messages
		return nil, netip.AddrPort{}
	}
	keys, to := p.Sending(now)
	keys.mtu = 0
	return keys.seal(appendControl(nil, kind, content)), to
}
