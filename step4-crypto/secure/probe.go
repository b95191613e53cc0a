package secure

import (
	"time"

	"stepvpn/shared/link"
)

// Second reading: a message whose length matters, for step 8, which finds out by it how
// long a packet the path carries.

// Probe is Conn.Control for a message that is not padded, and that no router may
// fragment, if the Link below can ask for that: it arrives only if the path carries its
// length. Sealed, it has ControlOverhead + Overhead bytes more than content.
func (c *Conn) Probe(kind byte, content []byte) error {
	keys, to := c.peer.Sending(time.Now())
	keys.mtu = 0
	return c.say(keys.seal(appendControl(nil, kind, content)), to, link.Hints{DontFragment: true})
}
