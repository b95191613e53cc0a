package hub

import (
	"sync/atomic"
	"time"

	"stepvpn/shared/link"
)

// Second reading: what step 8 needs to find the MTU of the path to a client.

// Limits on the probes that a client is sent, as each takes a few system calls. One search
// takes about 60 probes, within seconds.
const (
	probesAtOnce    = 128
	probesPerSecond = 16 // on average
)

// Probe sends the client a message that is not padded. If the socket can ask for that, no
// router may fragment it.
func (c *client) Probe(kind byte, content []byte) {
	now := time.Now()
	if !c.probed.take(c.hub.clockOf(now)) {
		c.hub.drops.Add(link.QueueFull)
		return
	}
	m, to := c.peer.Probe(kind, content, now)
	c.via.Load().tellSo(m, to, link.Hints{DontFragment: true})
}

// probes limits the rate of probes, by the generic cell rate algorithm of ITU-T I.371. It
// holds the time, as Hub.clockOf returns it, by which all probes so far would have been
// sent at the average rate.
type probes struct{ until atomic.Int64 }

// take reports whether one more probe may be sent. If two goroutines call it at the same
// time, it may count just one of the two probes.
func (p *probes) take(now int64) bool {
	const each = int64(time.Second / probesPerSecond)
	until := max(p.until.Load(), now)
	if until-now > each*(probesAtOnce-1) {
		return false
	}
	p.until.Store(until + each)
	return true
}
