package hub

import (
	"slices"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step7-auth/greet"
)

// A member is an identity that has asked in the last forgetAfter. There are no
// more of them than the registry has entries.
type member struct {
	newest   heard     // its newest hello
	replaced [4]uint64 // instances that had to go, the last ones
	next     int       // the place in replaced of the next one

	current *client // it is there
	pending *client // it has been let in, and has still to send a packet or to log in
}

// A heard is a hello that came.
type heard struct {
	time uint64 // in it
	at   time.Time
}

// has reports whether there is any client of the identity.
func (m *member) has() bool { return m.current != nil || m.pending != nil }

// hear notes a hello. It reports false, and why, if that is a copy of an earlier
// one, or comes too soon after it.
//
// What seems to be a copy can also come from a machine that has started anew and
// whose clock has gone back. Then behind is the time that it has to exceed. Within
// one instance, times always increase.
//
// The client that is there is judged by its own hellos alone: whatever another
// machine says that has its key, it gets its next keys.
func (m *members) hear(key noise.PublicKey, hello greet.Hello, now time.Time) (behind uint64, why link.Reason, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	is := m.byKey[key]
	if is == nil {
		is = new(member)
		m.byKey[key] = is
	}
	last := is.newest
	if c := is.current; c != nil && c.instance == hello.Instance {
		last = c.newest
	}
	since := now.Sub(last.at)
	switch {
	case hello.Time <= last.time && since < forgetAfter:
		if hello.Time < last.time && !is.knows(hello.Instance) {
			behind = last.time
		}
		return behind, secure.Replayed, false
	case since < helloInterval:
		return 0, cookie.Throttled, false
	}
	this := heard{hello.Time, now}
	for _, c := range is.append(nil) {
		if c.instance == hello.Instance {
			c.newest = this
		}
	}
	if now.Sub(is.newest.at) < forgetAfter {
		this.time = max(this.time, is.newest.time)
	}
	is.newest = this
	return 0, 0, true
}

// knows reports whether there is a client of this instance, or was one.
func (m *member) knows(instance uint64) bool {
	is := func(c *client) bool { return c != nil && c.instance == instance }
	return is(m.current) || is(m.pending) || slices.Contains(m.replaced[:], instance)
}

// object returns what speaks against a client whose identity may come in, or nil.
// There is room for limit clients.
func (m *members) object(key noise.PublicKey, hello greet.Hello, limit int) *secure.Rejected {
	m.mu.RLock()
	defer m.mu.RUnlock()
	is := m.byKey[key]
	switch {
	case slices.Contains(is.replaced[:], hello.Instance):
		return &replaced
	case !is.has() && m.size >= limit:
		return &full
	}
	return nil
}

// find returns the client of an identity that is this very machine, or nil.
func (m *members) find(key noise.PublicKey, hello greet.Hello) *client {
	m.mu.RLock()
	defer m.mu.RUnlock()
	is := m.byKey[key]
	for _, c := range []*client{is.current, is.pending} {
		if c != nil && c.instance == hello.Instance {
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
