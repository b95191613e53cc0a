package hub

import (
	"slices"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/cookie"
)

// A member is an identity that has asked in the last forgetAfter. There are no
// more of them than the registry has entries.
type member struct {
	newest   asked     // its newest initiation
	replaced [4]uint64 // instances that had to go, the last ones
	next     int       // the place in replaced of the next one

	current *client // it is there
	pending *client // it has been let in, and has still to send a packet or to log in
}

// An asked is an initiation that came.
type asked struct {
	time uint64 // in it
	at   time.Time
}

// has reports whether there is any client of the identity.
func (m *member) has() bool { return m.current != nil || m.pending != nil }

// hear notes an initiation, with the time that it names. It reports false, and why, if
// that is a copy of an earlier one, or comes too soon after it.
//
// What seems to be a copy can also come from a machine whose clock has gone back, and
// that has started anew or begun another session. Then behind is the time that it has
// to exceed. The newest one itself is no such: it is a copy.
//
// The client that is there is judged by its own initiations alone: whatever another
// machine says that has its key, it gets its next keys.
func (m *members) hear(key noise.PublicKey, instance, said uint64, now time.Time) (behind uint64, why link.Reason, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	is := m.byKey[key]
	if is == nil {
		is = new(member)
		m.byKey[key] = is
	}
	last := is.newest
	if c := is.current; c != nil && c.instance == instance {
		last = c.newest
	}
	since := now.Sub(last.at)
	switch {
	case said <= last.time && since < forgetAfter:
		if said < last.time {
			behind = last.time
		}
		return behind, secure.Replayed, false
	case since < helloInterval:
		return 0, cookie.Throttled, false
	}
	this := asked{said, now}
	for _, c := range is.append(nil) {
		if c.instance == instance {
			c.newest = this
		}
	}
	if now.Sub(is.newest.at) < forgetAfter {
		this.time = max(this.time, is.newest.time)
	}
	is.newest = this
	return 0, 0, true
}

// object returns what speaks against a client whose identity may come in, or nil.
// There is room for limit clients.
func (m *members) object(key noise.PublicKey, instance uint64, limit int) *secure.Rejected {
	m.mu.RLock()
	defer m.mu.RUnlock()
	is := m.byKey[key]
	switch {
	case slices.Contains(is.replaced[:], instance):
		return &replaced
	case !is.has() && m.size >= limit:
		return &full
	}
	return nil
}

// find returns the client of an identity that is this very machine, or nil.
func (m *members) find(key noise.PublicKey, instance uint64) *client {
	m.mu.RLock()
	defer m.mu.RUnlock()
	is := m.byKey[key]
	for _, c := range []*client{is.current, is.pending} {
		if c != nil && c.instance == instance {
			return c
		}
	}
	return nil
}

// of returns all clients of an identity: none, one or two.
func (m *members) of(key noise.PublicKey) (list []*client) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if is := m.byKey[key]; is != nil {
		list = is.append(list)
	}
	return list
}

// append appends the clients of m to dst.
func (m *member) append(dst []*client) []*client {
	for _, c := range []*client{m.current, m.pending} {
		if c != nil {
			dst = append(dst, c)
		}
	}
	return dst
}
