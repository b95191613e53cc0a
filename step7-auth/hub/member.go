package hub

import (
	"slices"
	"time"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/greet"
)

// A member is an identity that has asked in the last forgetAfter. There are no
// more of them than the registry has entries.
type member struct {
	newest   uint64    // the time in its newest hello
	newestAt time.Time // when that came
	replaced [4]uint64 // instances that had to go, the last ones
	next     int       // the place in replaced of the next one

	current *client // it is there
	pending *client // it has been let in, and has sent no packet yet
}

// has reports whether there is any client of the identity.
func (m *member) has() bool { return m.current != nil || m.pending != nil }

// hear notes a hello. It reports false if that is a copy of an earlier one.
func (m *members) hear(key noise.PublicKey, hello greet.Hello, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	is := m.byKey[key]
	if is == nil {
		is = new(member)
		m.byKey[key] = is
	}
	if hello.Time <= is.newest && now.Sub(is.newestAt) < forgetAfter {
		return false
	}
	is.newest, is.newestAt = hello.Time, now
	return true
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
