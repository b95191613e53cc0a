package pool

import (
	"container/heap"
	"fmt"
	"time"
)

// This file decides when an address may go to another client.

// canReuse reports whether the address that was released longest ago may go to
// another client. Without a grace time it may, even if a release overtook the
// call of Lease, and so seems to be later than now.
func (f *family) canReuse(now time.Time) bool {
	return len(f.released) > 0 && (f.grace == 0 || now.Sub(f.released[0].since) >= f.grace)
}

// DefaultGrace is a grace time for most uses. If an address went to another client at
// once, that one would get what is still on its way to the client before: packets, and
// connections that other hosts have not given up. And the client before, if it only
// changed networks or slept for a moment, would come back to another address, which ends
// all its connections.
const DefaultGrace = 5 * time.Minute

func (f *family) full() error {
	return fmt.Errorf("%w: of %v, %d addresses are in use, %d were released less than %v ago, and %d are fixed",
		ErrFull, f.prefix, f.inUse, len(f.released), f.grace, len(f.fixed))
}

// queue enters a lease that was released among those that another client may get.
func (f *family) queue(l *lease) {
	if _, fixed := f.fixed[l.addr]; !fixed {
		heap.Push(&f.released, l)
	}
}

func (f *family) unqueue(l *lease) {
	if l.place >= 0 {
		heap.Remove(&f.released, l.place)
	}
}

// released is a heap (container/heap) of leases. The first one was released
// before the others.
type released []*lease

func (r released) Len() int { return len(r) }

func (r released) Less(i, j int) bool {
	if r[i].since.Equal(r[j].since) {
		return r[i].addr.Less(r[j].addr)
	}
	return r[i].since.Before(r[j].since)
}

func (r released) Swap(i, j int) {
	r[i], r[j] = r[j], r[i]
	r[i].place, r[j].place = i, j
}

func (r *released) Push(x any) {
	l := x.(*lease)
	l.place = len(*r)
	*r = append(*r, l)
}

func (r *released) Pop() any {
	last := len(*r) - 1
	l := (*r)[last]
	(*r)[last] = nil
	*r = (*r)[:last]
	l.place = -1
	return l
}
