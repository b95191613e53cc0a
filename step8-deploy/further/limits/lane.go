package limits

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step8-deploy/further/limits/plan"
)

// A lane is one direction of one client: a bucket, and the packets that wait for it.
type lane struct {
	client *Client
	pacer  *pacer

	mu      sync.Mutex // guards all below
	rate    plan.Rate
	bucket  bucket
	queue   *fairQueue // nil until a packet has had to wait
	waiting bool       // the pacer serves it; if not, the queue is empty
}

// held is how many bytes wait in all lanes of this program. More than maxHeld do not: a server
// that sends 5 Gbit/s to clients that all have limits needs 60 MB.
var held atomic.Int64

const maxHeld = 64 << 20

// pass decides about a packet: it returns true if that passes now. Otherwise it has kept a copy,
// or dropped it, or others in its place.
func (l *lane) pass(p []byte, hints link.Hints) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rate == 0 && !l.waiting {
		return true
	}
	l.bucket.fill(l.pacer.now())
	if l.bucket.ready() && !l.waiting {
		l.bucket.take(len(p))
		return true
	}
	if held.Load() > maxHeld {
		l.client.drop(OverLimit)
		return false
	}
	if l.queue == nil {
		l.queue = new(fairQueue)
	}
	limit := math.MaxInt
	if l.rate != 0 {
		limit = room(l.rate)
	}
	before := l.queue.bytes
	for range l.queue.add(copyOf(p, hints), tagOf(p), limit) {
		l.client.drop(OverLimit)
	}
	held.Add(int64(l.queue.bytes - before))
	if !l.waiting {
		l.waiting = true
		l.pacer.add(l)
	}
	return false
}

// release gives the pacer the packets that may pass now. It returns how long the next one has to
// wait, and whether the pacer has to come back; if not, it forgets the lane. It has to as long as it
// was given something: what comes meanwhile must not pass before that is on its way.
func (l *lane) release(p *pacer, now time.Duration) (wait time.Duration, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bucket.fill(now)
	for room := true; room && l.bucket.ready(); more = true {
		g := l.queue.pop()
		if g == nil {
			l.waiting = more
			return 0, more
		}
		l.bucket.take(len(g.data))
		held.Add(-int64(len(g.data)))
		l.client.count(len(g.data))
		room = p.give(g)
	}
	return l.bucket.wait(), true
}

// limit sets the rate. If that is 0, all that waits passes soon.
func (l *lane) limit(r plan.Rate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r == l.rate {
		return
	}
	l.rate = r
	l.bucket.set(r, l.pacer.now())
	if l.waiting && r != 0 {
		l.trim()
	}
	l.pacer.poke()
}

// trim drops what is too much. The caller holds mu.
func (l *lane) trim() {
	before := l.queue.bytes
	for range l.queue.trim(room(l.rate)) {
		l.client.drop(OverLimit)
	}
	held.Add(int64(l.queue.bytes - before))
}

// busy reports whether the lane has to be asked about packets.
func (l *lane) busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rate != 0 || l.waiting
}
