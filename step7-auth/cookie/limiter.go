package cookie

import (
	"net/netip"
	"time"

	"stepvpn/step7-auth/source"
)

// A Limiter gives each source, and each network around it, a share: a token bucket for
// each. It remembers the sources of two turns, each of which lasts at least refill. A
// source that has not asked in the last whole turn has its whole burst again, so
// forgetting it changes nothing. When a network is refused, nothing is stored about the
// addresses in it.
//
// The zero value is ready to use. It is not safe for concurrent use.
type Limiter struct {
	young, old map[bucket]time.Duration // when a bucket is full again, since start
	start      time.Time
	turned     time.Time
}

// refill is how long it takes until a source has its whole burst again. From then on, it
// is like a source that was never seen.
const refill = 250 * time.Millisecond

// Bursts: how often a source may ask at once. After that, it may ask once per refill / burst.
const (
	perEndpoint = 5  // an address and port: 20 per second
	perHost     = 10 // an IPv4 address or an IPv6 /64
	perCustomer = 15 // an IPv6 /56
	perSite     = 20 // an IPv4 /24 or an IPv6 /48: 80 per second
)

// maxSources bounds the memory. When this many sources have asked within refill, others
// have to wait for the next turn.
const maxSources = 8192

// A bucket is the key of a token bucket: a network, or, with a port, an endpoint.
type bucket struct {
	addr [16]byte
	bits uint8 // the network's
	port uint16
}

// Allow reports whether a source may ask now, and counts it if so.
func (l *Limiter) Allow(from netip.AddrPort, now time.Time) bool {
	var room [source.MaxNetworks]netip.Prefix
	return l.allow(from, source.Networks(room[:0], from.Addr()), now)
}

// AllowEndpoint is Allow for a source that the limits of its networks do not hold for.
func (l *Limiter) AllowEndpoint(from netip.AddrPort, now time.Time) bool {
	return l.allow(from, nil, now)
}

func (l *Limiter) allow(from netip.AddrPort, networks []netip.Prefix, now time.Time) bool {
	l.turn(now)
	var taken [source.MaxNetworks + 1]bucket
	var full [len(taken)]time.Duration
	n, added := 0, 0
	take := func(b bucket, burst int) bool {
		at, known := l.young[b]
		if !known {
			at = l.old[b]
			added++
		}
		since := now.Sub(l.start)
		taken[n], full[n] = b, max(at, since)+refill/time.Duration(burst)
		n++
		return full[n-1]-since <= refill && len(l.young)+added <= maxSources
	}
	for _, p := range networks {
		if p.Bits() == 128 { // no limit: a host can have as many of these as it likes
			continue
		}
		if !take(bucket{p.Addr().As16(), uint8(p.Bits()), 0}, burstOf(p)) {
			return false
		}
	}
	if !take(bucket{from.Addr().As16(), 128, from.Port()}, perEndpoint) {
		return false
	}
	for i, b := range taken[:n] {
		l.young[b] = full[i]
	}
	return true
}

func burstOf(p netip.Prefix) int {
	switch p.Bits() {
	case 24, 48:
		return perSite
	case 56:
		return perCustomer
	}
	return perHost
}

// turn forgets the sources that have not asked in a whole turn.
func (l *Limiter) turn(now time.Time) {
	if l.young == nil {
		l.young, l.old = make(map[bucket]time.Duration), make(map[bucket]time.Duration)
		l.start, l.turned = now, now
	}
	if now.Sub(l.turned) < refill {
		return
	}
	l.young, l.old = l.old, l.young
	clear(l.young)
	l.turned = now
}
