package pool

import (
	"container/heap"
	"fmt"
	"net/netip"
	"time"

	"stepvpn/step4-crypto/noise"
)

// A family is the leases of one subnet. An address of it is free, or it has a
// lease. A lease is in use, or it was released: then it is kept for its owner
// until another client needs the address.
//
// It is not safe for concurrent use; the Pool's lock guards it.
type family struct {
	subnet
	grace time.Duration
	most  int // leases, at any time; see maxLeases

	byAddr   map[netip.Addr]*lease
	byOwner  map[noise.PublicKey]*lease
	inUse    int        // how many leases are in use
	released released   // those that are not, and whose address is not fixed
	fresh    netip.Addr // no address below it is free, unless it is fixed; invalid: none is

	fixed   map[netip.Addr]noise.PublicKey // whose an address is
	fixedOf map[noise.PublicKey]netip.Addr // the same, the other way round
}

// A lease says who has an address. The zero owner is nobody: the client was
// forgotten, and the address waits for its grace time to pass.
type lease struct {
	addr  netip.Addr
	owner noise.PublicKey
	inUse bool
	since time.Time // when it was released; of no meaning while it is in use
	place int       // its index in family.released, or -1
}

// nobody owns what nobody owns. No client has this key: an exchange with it gives
// no secret, and is refused (RFC 7748, section 6.1).
var nobody noise.PublicKey

func newFamily(s subnet, grace time.Duration) *family {
	return &family{
		subnet:  s,
		grace:   grace,
		most:    maxLeases,
		byAddr:  make(map[netip.Addr]*lease),
		byOwner: make(map[noise.PublicKey]*lease),
		fresh:   s.first,
	}
}

// choose returns the address that a client may have now. It changes nothing that
// matters: take does.
func (f *family) choose(id noise.PublicKey, now time.Time) (netip.Addr, error) {
	if addr, ok := f.fixedOf[id]; ok {
		l := f.byAddr[addr]
		switch {
		case l == nil && len(f.byAddr) >= f.most && !f.canReuse(now):
			return addr, f.full()
		case l != nil && l.inUse && l.owner != id:
			return addr, fmt.Errorf("%w: %v", ErrInUse, addr)
		}
		return addr, nil
	}
	if l := f.byOwner[id]; l != nil && f.mayHave(id, l.addr) {
		return l.addr, nil
	}
	if addr := f.nextFresh(); addr.IsValid() && len(f.byAddr) < f.most {
		return addr, nil
	}
	if f.canReuse(now) {
		return f.released[0].addr, nil
	}
	return netip.Addr{}, f.full()
}

// canReuse reports whether the address that was released longest ago may go to
// another client. Without a grace time it may, even if a release overtook the
// call of Lease, and so seems to be later than now.
func (f *family) canReuse(now time.Time) bool {
	return len(f.released) > 0 && (f.grace == 0 || now.Sub(f.released[0].since) >= f.grace)
}

func (f *family) full() error {
	return fmt.Errorf("%w: of %v, %d addresses are in use, %d were released less than %v ago, and %d are fixed",
		ErrFull, f.prefix, f.inUse, len(f.released), f.grace, len(f.fixed))
}

// nextFresh returns the first address that is free, or an invalid one. It goes
// over each address once in the life of the family (and again after setFixed).
func (f *family) nextFresh() netip.Addr {
	for f.fresh.IsValid() {
		if _, fixed := f.fixed[f.fresh]; !fixed && f.byAddr[f.fresh] == nil && f.fresh != f.server {
			break
		}
		if f.fresh == f.last {
			f.fresh = netip.Addr{}
			break
		}
		f.fresh = f.fresh.Next()
	}
	return f.fresh
}

// take gives a client the address that choose returned. It reports whether that
// is another one than before.
func (f *family) take(id noise.PublicKey, addr netip.Addr, now time.Time) bool {
	l := f.byAddr[addr]
	changed := l == nil || l.owner != id
	if changed {
		f.forget(id, now) // it had another address
		if l == nil && len(f.byAddr) >= f.most {
			l = f.released[0] // choose has made sure that it can go
		}
		f.remove(l)
		l = &lease{addr: addr, owner: id, place: -1}
		f.byAddr[addr], f.byOwner[id] = l, l
	}
	f.unqueue(l)
	if !l.inUse {
		l.inUse = true
		f.inUse++
	}
	return changed
}

// release ends the use of a client's lease. It reports whether there is another
// lease to be saved, or one less.
func (f *family) release(id noise.PublicKey, now time.Time) bool {
	l := f.byOwner[id]
	if l == nil || !l.inUse {
		return false
	}
	f.stop(l, now)
	if !f.mayHave(id, l.addr) {
		f.disown(l)
		return true
	}
	return false
}

func (f *family) releaseAll(now time.Time) {
	for _, l := range f.byAddr {
		if l.inUse {
			f.stop(l, now)
		}
	}
}

// forget takes a client's lease away from it. It reports whether there was one.
func (f *family) forget(id noise.PublicKey, now time.Time) bool {
	l := f.byOwner[id]
	if l == nil {
		return false
	}
	if l.inUse {
		f.stop(l, now)
	}
	f.disown(l)
	return true
}

// disown leaves a lease that is not in use to nobody.
func (f *family) disown(l *lease) {
	delete(f.byOwner, l.owner)
	l.owner = nobody
}

// stop marks a lease as released.
func (f *family) stop(l *lease, now time.Time) {
	l.inUse, l.since = false, now
	f.inUse--
	f.queue(l)
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

// remove makes the address of a lease that is not in use free. nil is ignored.
func (f *family) remove(l *lease) {
	if l == nil {
		return
	}
	f.unqueue(l)
	delete(f.byAddr, l.addr)
	if l.owner != nobody {
		delete(f.byOwner, l.owner)
	}
}

// adopt enters a released lease from the state file.
func (f *family) adopt(r record, at time.Time) {
	l := &lease{addr: r.addr, owner: r.owner, since: at, place: -1}
	f.byAddr[l.addr] = l
	if l.owner != nobody {
		f.byOwner[l.owner] = l
	}
	f.queue(l)
}

// appendRecords appends what is to be saved of the family.
func (f *family) appendRecords(records []record, now time.Time) []record {
	for _, l := range f.byAddr {
		r := record{l.addr, l.owner, l.since}
		if l.inUse {
			r.released = now
		}
		records = append(records, r)
	}
	return records
}
