package hub

import (
	"net/netip"
	"slices"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/cookie"
)

// This file is what the hub knows of one key: the runs of programs (instances) that use it. hear
// tells a new initiation from a replay; object refuses an instance that was replaced, and one too
// many.

// An identity is what the hub knows of one key that has asked within the last forgetAfter:
// its clients, and when their newest initiation was made. (A client is one run of a program, an
// instance, see client.go; several may prove that they have the same key.) There are never
// more identities than the registry has entries, and has had within forgetAfter. (The
// directory's hear and object are here, as they are about one identity.)
type identity struct {
	heard    time.Time // when its last initiation came
	newest   asked     // the newest initiation of a client of it that has come in
	replaced [4]uint64 // the last instances that were replaced by another machine
	next     int       // where in replaced the next one goes

	current *client   // its packets pass
	pending []*client // they are let in, but have yet to send a packet or to log in; oldest first

	askers // second reading
}

// An asked is an initiation that came.
type asked struct {
	time uint64 // the timestamp in it
	at   time.Time
}

// has reports whether there is any client of the identity.
func (id *identity) has() bool { return id.current != nil || len(id.pending) > 0 }

// hear notes an initiation with the timestamp said. It reports false, and why, if the
// initiation is a copy of an earlier one, or comes too soon after it.
//
// What seems to be a copy may also come from a machine whose clock has gone back, and
// that was restarted or began another session. So for a timestamp older than the newest one,
// hear also returns the newest as behind: the client is told that its clock must exceed it.
// behind is 0 if the two are equal, as that is always a copy.
//
// An initiation of a known client is compared only with that client's own; one of another
// program, with those of clients that have come in, with a password if one is needed. So
// somebody who has only the key can neither keep a client from its next keys, nor keep
// others out, whatever timestamps he sends.
//
// newest is a timestamp that said must exceed in any case (see Foreign).
func (d *directory) hear(key noise.PublicKey, instance, said, newest uint64, from netip.AddrPort, now time.Time) (behind uint64, why link.Reason, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	is := d.byKey[key]
	if is == nil {
		is = new(identity)
		d.byKey[key] = is
	}
	is.heard = now
	last, c := is.newest, is.with(instance)
	if c != nil {
		last = c.newest
	}
	since := now.Sub(last.at)
	switch {
	case said <= newest && newest != 0:
		return 0, secure.Replayed, false
	case said <= last.time && since < forgetAfter:
		if said < last.time {
			behind = last.time
		}
		return behind, secure.Replayed, false
	case c != nil && since < helloInterval, c == nil && !is.allows(instance, from, now):
		return 0, cookie.Throttled, false
	}
	if c != nil {
		c.newest = asked{said, now}
		if c == is.current {
			is.advance(c.newest)
		}
	}
	return 0, 0, true
}

// advance takes over the newest initiation of a client that has come in. A time far ahead
// of the server's clock is not remembered, as no correct clock could exceed it.
func (id *identity) advance(a asked) {
	if a.absurd() {
		return
	}
	if a.at.Sub(id.newest.at) < forgetAfter {
		a.time = max(a.time, id.newest.time)
	}
	id.newest = a
}

// absurd reports whether the timestamp was far ahead of the server's clock on arrival.
func (a asked) absurd() bool { return a.time > uint64(a.at.Add(maxAhead).UnixNano()) }

// object returns the reason not to let in this client, although its identity may come in: it
// was replaced, or there are too many. Otherwise it returns nil.
// limit is the largest number of clients.
func (d *directory) object(key noise.PublicKey, instance uint64, limit int) *secure.Rejected {
	d.mu.RLock()
	defer d.mu.RUnlock()
	is := d.byKey[key]
	switch {
	case instance != noInstance && slices.Contains(is.replaced[:], instance):
		return &replaced
	case !is.has() && d.size >= limit:
		return &full
	}
	return nil
}

// with returns the client of an instance, or nil.
func (id *identity) with(instance uint64) *client {
	if id.current != nil && id.current.instance == instance {
		return id.current
	}
	for _, c := range id.pending {
		if c.instance == instance {
			return c
		}
	}
	return nil
}

// append appends the clients of the identity to dst.
func (id *identity) append(dst []*client) []*client {
	if id.current != nil {
		dst = append(dst, id.current)
	}
	return append(dst, id.pending...)
}
