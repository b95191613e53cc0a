package hub

import (
	"net/netip"
	"sync/atomic"
	"time"

	"stepvpn/shared/link"
)

// Second reading: what step 8 needs to find out how long a packet the path to a client
// carries.

// How many probes a client is sent: each takes some calls of the kernel. A search has some
// 60, within seconds.
const (
	probesAtOnce    = 128
	probesPerSecond = 16 // on average
)

// Probe sends the client a message that is not padded, and that no router may fragment, if
// the socket can ask for that.
func (c *client) Probe(kind byte, content []byte) {
	now := time.Now()
	if !c.probed.take(c.hub.clockOf(now)) {
		c.hub.drops.Add(link.QueueFull)
		return
	}
	m, to := c.peer.Probe(kind, content, now)
	c.via.Load().tellSo(m, to, link.Hints{DontFragment: true})
}

// Addrs returns the client's addresses.
func (c *client) Addrs() []netip.Addr { return c.addrs }

// probes bounds how many there are (the generic cell rate algorithm of ITU-T I.371): it is
// the time, as of Hub.clockOf, by which as many as there were would have been sent at the
// average rate.
type probes struct{ until atomic.Int64 }

// take reports whether there may be one more. Of two that ask at the same time, one may
// not count.
func (p *probes) take(now int64) bool {
	const each = int64(time.Second / probesPerSecond)
	until := max(p.until.Load(), now)
	if until-now > each*(probesAtOnce-1) {
		return false
	}
	p.until.Store(until + each)
	return true
}
