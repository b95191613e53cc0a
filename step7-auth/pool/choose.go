// Package pool leases the tunnel's addresses to clients: one IPv4 and one IPv6
// address each, as far as the tunnel has the family. Introduced in step 7.
//
// A client is known by its public key. It gets the same addresses whenever it
// comes back, also after the server was restarted, as long as nobody else needed
// them. Addresses that nobody had yet go first. When there are none left, the
// client that left longest ago loses its address, but not before the grace time
// has passed. When all are in use or in their grace time, a new client is refused.
//
// This file is how an address is chosen, and the life of a lease. The others are what a
// server needs besides.
//
// What is not covered: it hands out single addresses, no prefixes; it does not
// ask the network whether an address is in use (RFC 2131, section 2.2), since
// nobody is in the tunnel but clients of this server; and the interface
// identifiers that RFC 2526 reserves at the end of IPv6 subnets are leased like
// others.
package pool

import (
	"errors"
	"net/netip"
	"time"

	"stepvpn/step4-crypto/noise"
)

// ErrFull says that no address may be leased to a new client now. Its text can be
// told to the client; the error that wraps it is for the log.
var ErrFull = errors.New("the server has no free address, try again later")

// A family is the leases of one subnet. An address of it is free, or it has a
// lease. A lease is in use, or it was released: then it is kept for its owner
// until another client needs the address.
//
// It is not safe for concurrent use; the Pool's lock guards it.
type family struct {
	subnet               // which addresses there are
	grace  time.Duration // how long one that was released is kept for its owner
	most   int           // leases, at any time; see maxLeases

	byAddr   map[netip.Addr]*lease
	byOwner  map[noise.PublicKey]*lease
	inUse    int        // how many leases are in use
	released released   // those that are not, and whose address is not fixed
	fresh    netip.Addr // no address below it is free, unless it is fixed; invalid: none is

	fixed   map[netip.Addr]noise.PublicKey // whose an address is
	fixedOf map[noise.PublicKey]netip.Addr // the same, the other way round
}

// A lease says who has an address. If the owner is nobody, the client was
// forgotten, and the address waits for its grace time to pass.
type lease struct {
	addr  netip.Addr
	owner noise.PublicKey
	inUse bool
	since time.Time // when it was released; of no meaning while it is in use
	place int       // its index in family.released, or -1
}

// nobody stands for the owner of an address whose client was forgotten. No client has this
// key: an exchange with it gives no secret, and is refused (RFC 7748, section 6.1).
var nobody noise.PublicKey

// choose returns the address that a client may have now: the one that is fixed for it, if
// it is free (canHaveFixed); else the one that it had, unless that is fixed for another by
// now (mayHave); else one that nobody had yet, as long as there are fewer than most leases;
// else the one that was released longest ago, if its grace time has passed (canReuse). If
// there is none, the error is that of full. It does not change the leases: take does.
//
//exercise:3
func (f *family) choose(id noise.PublicKey, now time.Time) (netip.Addr, error) {
	if addr, ok := f.fixedOf[id]; ok {
		return addr, f.canHaveFixed(id, addr, now) // the operator's choice; an error while another has it
	}
	if l := f.byOwner[id]; l != nil && f.mayHave(id, l.addr) {
		return l.addr, nil // the one that it had, unless that is now fixed for another
	}
	if addr := f.nextFresh(); addr.IsValid() && len(f.byAddr) < f.most {
		return addr, nil // one that nobody had yet
	}
	if f.canReuse(now) {
		return f.released[0].addr, nil // the one that was released longest ago
	}
	return netip.Addr{}, f.full()
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

// take gives a client the address that choose returned. The lease is in use from then on. If the
// client had another one, that waits for its grace time, and for nobody (forget). A lease
// of a client that has left is removed where it is in the way: it has that address, or there
// are as many leases as there may be. take reports whether the address is another one than
// before.
//
//exercise:3
func (f *family) take(id noise.PublicKey, addr netip.Addr, now time.Time) bool {
	l := f.byAddr[addr]
	changed := l == nil || l.owner != id
	if changed {
		f.forget(id, now) // another address that it had is nobody's now, and waits
		if l == nil && len(f.byAddr) >= f.most {
			l = f.released[0] // choose has made sure that it can go
		}
		f.remove(l) // whoever had this address, if anybody (nil is allowed)
		l = &lease{addr: addr, owner: id, place: -1}
		f.byAddr[addr], f.byOwner[id] = l, l
	}
	f.unqueue(l) // it is none of those released any more: grace.go
	if !l.inUse {
		l.inUse = true
		f.inUse++
	}
	return changed
}

// release ends the use of a client's lease, if it is in use: the client stays its owner,
// unless the address is fixed for another by now (mayHave, disown). It reports whether the saved
// leases have changed.
//
//exercise:3
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

// stop marks a lease as released.
func (f *family) stop(l *lease, now time.Time) {
	l.inUse, l.since = false, now
	f.inUse--
	f.queue(l)
}
