package cookie

import (
	"net/netip"
	"time"
)

// One source may ask burst times at once, and then once an interval.
const (
	interval = time.Second / 20
	burst    = 5

	// refill is how long it takes a source to have its whole burst again. Then it
	// is like one that was never seen.
	refill = burst * interval

	// maxSources bounds the memory. When so many sources have asked within
	// refill, others have to wait for the next turn.
	maxSources = 8192
)

// A limiter gives each source its share: a token bucket for each. It remembers
// the sources of two turns of at least refill each. Who has not asked in the last
// whole turn has its whole burst again, so to forget it changes nothing.
//
// The zero value is ready. It is not safe for concurrent use.
type limiter struct {
	young, old map[source]time.Duration // when a bucket is full again, since start
	start      time.Time
	turned     time.Time
}

// A source is an IPv4 address, or the upper half of an IPv6 address: the lower
// half is for its owner to choose.
type source [16]byte

func sourceOf(a netip.Addr) source {
	s := source(a.As16())
	if !a.Unmap().Is4() {
		clear(s[8:])
	}
	return s
}

// allow reports whether a source may ask now, and counts it if so.
func (l *limiter) allow(from netip.Addr, now time.Time) bool {
	l.turn(now)
	key, at := sourceOf(from), now.Sub(l.start)
	full, known := l.young[key]
	if !known {
		if len(l.young) >= maxSources {
			return false
		}
		full = l.old[key]
	}
	full = max(full, at) + interval
	if full-at > refill {
		return false
	}
	l.young[key] = full
	return true
}

// turn forgets the sources that have not asked for a whole turn.
func (l *limiter) turn(now time.Time) {
	if l.young == nil {
		l.young, l.old = make(map[source]time.Duration), make(map[source]time.Duration)
		l.start, l.turned = now, now
	}
	if now.Sub(l.turned) < refill {
		return
	}
	l.young, l.old = l.old, l.young
	clear(l.young)
	l.turned = now
}
