package limits

import (
	"encoding/binary"
	"hash/maphash"
	"sync"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step8-deploy/further/limits/plan"
)

// A fairQueue holds the packets of one client in one direction that wait for the bucket. Each
// flow (addresses, protocol, ports) has a queue of its own. They take turns, by bytes: so a
// download does not make a ping wait. This is the scheduler of FQ-CoDel (RFC 8290) without CoDel,
// as the whole queue is short; a flow that has been silent comes first.
type fairQueue struct {
	flows      [flowCount]flow
	fresh, old flows
	bytes      int
}

const (
	flowCount = 64
	ways      = 8    // in so many places a flow may be: so it has a queue of its own, most likely
	quantum   = 1514 // bytes that a flow may send in a turn, as in RFC 8290

	// queueFor is how long a packet waits at most, if the queue is not shorter than minQueue or
	// longer than maxQueue: together with a path of 50 ms, less than 200 ms. A TCP that sends as
	// fast as the limit, and no faster, needs a queue to fill.
	queueFor = 100 * time.Millisecond
	minQueue = 15_000    // bytes: ten packets, so that a TCP need not wait for its timer
	maxQueue = 2_000_000 // bytes, which is what a rate of 160 Mbit/s has
)

// A packet is a copy of one that waits.
type packet struct {
	data  []byte
	hints link.Hints
	next  *packet
}

// A flow is the queue of one flow, or of several that share a place.
type flow struct {
	tag        uint64 // which flow
	head, tail *packet
	bytes      int
	deficit    int  // how much it may still send in this turn
	in         bool // in one of the two lists
	next       *flow
}

// flows is a list of flows, the next one to send first.
type flows struct{ head, tail *flow }

func (l *flows) append(f *flow) {
	if f.next = nil; l.head == nil {
		l.head = f
	} else {
		l.tail.next = f
	}
	l.tail = f
}

func (l *flows) shift() {
	if l.head = l.head.next; l.head == nil {
		l.tail = nil
	}
}

// spare has packets for reuse. The garbage collector takes those that nobody needs any more.
var spare = sync.Pool{New: func() any { return new(packet) }}

// copyOf returns a copy of a packet.
func copyOf(p []byte, hints link.Hints) *packet {
	c := spare.Get().(*packet)
	hints.More = false
	c.data, c.hints, c.next = append(c.data[:0], p...), hints, nil
	return c
}

// free gives a copy back.
func (p *packet) free() { spare.Put(p) }

// room returns how many bytes may wait at a rate.
func room(r plan.Rate) int {
	return min(max(int(float64(r)/8*queueFor.Seconds()), minQueue), maxQueue)
}

// push appends a packet of a flow.
func (q *fairQueue) push(p *packet, tag uint64) {
	f := q.place(tag)
	if f.head == nil {
		f.head = p
	} else {
		f.tail.next = p
	}
	f.tail = p
	f.bytes += len(p.data)
	q.bytes += len(p.data)
	if !f.in {
		f.tag, f.in, f.deficit = tag, true, quantum
		q.fresh.append(f)
	}
}

// place returns the queue of a flow: the one that it has, else a free one. If there is none among
// the few where it may be, it shares one.
func (q *fairQueue) place(tag uint64) *flow {
	var free *flow
	for i := range uint64(ways) {
		f := &q.flows[(tag+i)%flowCount]
		if f.in && f.tag == tag {
			return f
		}
		if !f.in && free == nil {
			free = f
		}
	}
	if free == nil {
		free = &q.flows[tag%flowCount]
	}
	return free
}

// pop removes the packet whose turn it is, and returns it, or nil if there is none. Fresh flows
// come before old ones. A flow that has used up its turn, deficit, goes to the end of the old
// ones, with a quantum more; so does a fresh one that has become empty, lest it come back as a
// fresh one at once. An old one that is empty leaves.
//
//exercise:3
func (q *fairQueue) pop() *packet {
	for {
		list := &q.fresh
		if list.head == nil {
			list = &q.old
		}
		f := list.head
		switch {
		case f == nil:
			return nil
		case f.deficit <= 0:
			f.deficit += quantum
		case f.head == nil && (list == &q.old || q.old.head == nil):
			list.shift()
			f.in = false
			continue
		case f.head != nil:
			p := f.take()
			q.bytes -= len(p.data)
			f.deficit -= len(p.data)
			return p
		}
		list.shift()
		q.old.append(f)
	}
}

// take removes the flow's first packet.
func (f *flow) take() *packet {
	p := f.head
	f.head = p.next
	f.bytes -= len(p.data)
	return p
}

// add is push for a queue that is bounded. It returns how many packets it has dropped: those are
// at the cost of the flow that has the most bytes. If that is the packet's own, it is this packet: one
// at the front may have been sent a second time already, and must not get lost again. Else it
// is the other flow's first one.
func (q *fairQueue) add(p *packet, tag uint64, limit int) (dropped int) {
	if q.bytes+len(p.data) > limit {
		if most := q.longest(); most == nil || most == q.place(tag) {
			p.free()
			return 1
		}
	}
	q.push(p, tag)
	return q.trim(limit)
}

// longest returns the flow that has the most bytes, or nil if nothing waits.
func (q *fairQueue) longest() (most *flow) {
	for _, l := range []*flow{q.fresh.head, q.old.head} {
		for f := l; f != nil; f = f.next {
			if most == nil || f.bytes > most.bytes {
				most = f
			}
		}
	}
	return most
}

// trim removes packets of the longest flow until no more than limit bytes are left, and returns how
// many.
func (q *fairQueue) trim(limit int) (dropped int) {
	for q.bytes > limit {
		p := q.longest().take()
		q.bytes -= len(p.data)
		p.free()
		dropped++
	}
	return dropped
}

var seed = maphash.MakeSeed() // so that nobody can have his packets share a place with others

// tagOf returns a number for the flow that a whole IP packet belongs to. A fragment belongs to
// that of its addresses.
func tagOf(p []byte) uint64 {
	const tcp, udp = 6, 17
	if p[0]>>4 == 4 {
		header, to := int(p[0]&15)*4, 20
		ports := (p[9] == tcp || p[9] == udp) && binary.BigEndian.Uint16(p[6:])&0x3fff == 0 && header == 20
		if ports && len(p) >= 24 {
			to = 24
		}
		return maphash.Bytes(seed, p[12:to]) + uint64(p[9])
	}
	to := 40
	if (p[6] == tcp || p[6] == udp) && len(p) >= 44 {
		to = 44
	}
	return maphash.Bytes(seed, p[8:to]) + uint64(p[6])
}
