// Package linktest provides networks in memory, for tests: a Network of many ends, and a
// Bad link, which loses packets, duplicates them, delays them and changes their order. The
// same seed repeats the same faults.
package linktest

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"stepvpn/shared/link"
)

// Faults says how bad a link is. Each rate is a probability, from 0 to 1, that applies to
// each packet separately.
type Faults struct {
	Seed uint64

	Drop    float64 // the packet is lost
	Double  float64 // it arrives twice
	Reorder float64 // it changes places with the next one

	Delay    float64       // it arrives late...
	MaxDelay time.Duration // ...by at most this much
}

// Counts says what a Bad link has done so far.
type Counts struct {
	Written, Dropped, Doubled, Reordered, Delayed int
}

// maxDelayed bounds the packets that are on the way. Further ones are not delayed.
const maxDelayed = 4096

// holdAtMost is how long a packet waits for the next one, to change places.
const holdAtMost = 50 * time.Millisecond

// Bad is a Link with faults in one direction: they affect the packets that are written to
// it, not those that are read. To make both directions bad, wrap both ends.
//
// The same writes with the same seed meet the same faults. In a testing/synctest
// bubble the delays take no time.
type Bad struct {
	link.Link // below
	faults    Faults

	mu       sync.Mutex // guards all below
	random   *rand.Rand
	counts   Counts
	held     *packet // changes places with the next one
	underWay int     // delayed packets

	writing sync.Mutex // guards out and the WriteBurst below
	out     *link.Burst
}

type packet struct {
	bytes []byte
	addr  netip.AddrPort
}

// Wrap returns a bad link on top of l.
func Wrap(l link.Link, f Faults) *Bad {
	return &Bad{
		Link:   l,
		faults: f,
		random: rand.New(rand.NewPCG(f.Seed, 0)),
		out:    link.NewBurst(),
	}
}

// Counts returns what the link has done so far.
func (l *Bad) Counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts
}

// WriteBurst writes the packets that the faults spare to the Link below.
func (l *Bad) WriteBurst(b *link.Burst) error {
	for i := range b.Len() {
		p := &packet{bytes.Clone(b.At(i)), b.Addr}
		for _, q := range l.fate(p) {
			if err := l.send(q); err != nil {
				return err
			}
		}
	}
	return nil
}

// fate decides what happens to a packet, and returns the packets to send now.
func (l *Bad) fate(p *packet) (now []*packet) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.Written++
	if l.happens(l.faults.Drop) {
		l.counts.Dropped++
		return nil
	}
	copies := 1
	if l.happens(l.faults.Double) {
		l.counts.Doubled++
		copies = 2
	}
	for range copies {
		switch {
		case l.happens(l.faults.Delay) && l.underWay < maxDelayed:
			l.delay(p)
		case l.happens(l.faults.Reorder) && l.held == nil:
			l.hold(p)
		default:
			now = append(now, p)
			if l.held != nil {
				now = append(now, l.held)
				l.held = nil
			}
		}
	}
	return now
}

func (l *Bad) happens(rate float64) bool { return l.random.Float64() < rate }

// delay sends p later. The caller must hold mu, as with hold.
func (l *Bad) delay(p *packet) {
	l.counts.Delayed++
	l.underWay++
	time.AfterFunc(time.Duration(l.random.Float64()*float64(l.faults.MaxDelay)), func() {
		l.send(p) // an error means that the link is closed
		l.mu.Lock()
		defer l.mu.Unlock()
		l.underWay--
	})
}

// hold keeps p until the next packet has passed.
func (l *Bad) hold(p *packet) {
	l.counts.Reordered++
	l.held = p
	time.AfterFunc(holdAtMost, func() {
		l.mu.Lock()
		waiting := l.held == p
		if waiting {
			l.held = nil
		}
		l.mu.Unlock()
		if waiting {
			l.send(p)
		}
	})
}

func (l *Bad) send(p *packet) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.out.Reset()
	l.out.Addr = p.addr
	copy(l.out.Alloc(len(p.bytes)), p.bytes)
	return l.Link.WriteBurst(l.out)
}
