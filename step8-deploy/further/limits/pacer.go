package limits

import (
	"net"
	"sync"
	"time"

	"stepvpn/shared/link"
)

// A pacer hands the hub the packets of one direction that have waited, of all clients, each when
// its client's bucket allows it. It is a Link, of which only ReadBurst and Close are used.
type pacer struct {
	now    func() time.Duration
	wake   chan struct{} // holds an element if something was added
	closed chan struct{}
	close  func()

	mu    sync.Mutex // guards added
	added []*lane    // lanes that have begun to wait

	// What follows belongs to the goroutine that reads.
	waiting []*lane
	turn    int       // the lane that comes first
	given   []*packet // what the last ReadBurst has returned
	later   *packet   // is next: it needs other hints
	at      func(int) []byte
	timer   *time.Timer
}

// together is how long the pacer waits at least, so that it handles several packets at a time.
const together = time.Millisecond

func newPacer(now func() time.Duration) *pacer {
	p := &pacer{now: now, wake: make(chan struct{}, 1), closed: make(chan struct{}), timer: time.NewTimer(0)}
	p.close = sync.OnceFunc(func() { close(p.closed) })
	p.given = make([]*packet, 0, link.MaxBurst)
	p.at = func(i int) []byte { return p.given[i].data }
	return p
}

// add has the pacer serve a lane until it is empty.
func (p *pacer) add(l *lane) {
	p.mu.Lock()
	p.added = append(p.added, l)
	p.mu.Unlock()
	p.poke()
}

// poke has the pacer look at its lanes again.
func (p *pacer) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// ReadBurst returns packets that may pass now. They stay valid until the next call.
func (p *pacer) ReadBurst(b *link.Burst) error {
	for _, g := range p.given {
		g.free()
	}
	p.given = p.given[:0]
	b.Reset()
	for {
		wait := p.collect()
		if len(p.given) > 0 {
			b.Hints = p.given[0].hints
			b.Lazy(len(p.given), p.at)
			return nil
		}
		var due <-chan time.Time
		if wait >= 0 {
			p.timer.Reset(max(wait, together))
			due = p.timer.C
		}
		select {
		case <-p.closed:
			return net.ErrClosed
		case <-p.wake:
		case <-due:
		}
	}
}

// collect puts packets that may pass into given. It returns how long to wait if there are none,
// or less than 0 if none wait.
func (p *pacer) collect() (wait time.Duration) {
	p.mu.Lock()
	p.waiting = append(p.waiting, p.added...)
	clear(p.added)
	p.added = p.added[:0]
	p.mu.Unlock()
	if p.later != nil {
		p.given, p.later = append(p.given, p.later), nil
	}
	now := p.now()
	wait = -1
	for range len(p.waiting) {
		if len(p.given) == link.MaxBurst || p.later != nil {
			break // the next time, this lane is the first
		}
		if p.turn >= len(p.waiting) {
			p.turn = 0
		}
		l := p.waiting[p.turn]
		due, more := l.release(p, now)
		if !more {
			last := len(p.waiting) - 1
			p.waiting[p.turn], p.waiting[last] = p.waiting[last], nil
			p.waiting = p.waiting[:last]
			continue
		}
		p.turn++
		if wait < 0 || due < wait {
			wait = due
		}
	}
	return wait
}

// give adds a packet to those that pass now. It returns false if it was the last one.
func (p *pacer) give(g *packet) bool {
	if len(p.given) > 0 && p.given[0].hints != g.hints {
		p.later = g
		return false
	}
	p.given = append(p.given, g)
	return len(p.given) < link.MaxBurst
}

// WriteBurst is not used.
func (p *pacer) WriteBurst(*link.Burst) error { return net.ErrClosed }

// Close makes ReadBurst return net.ErrClosed.
func (p *pacer) Close() error {
	p.close()
	return nil
}
