package hub

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/greet"
)

// members is who is there. It is safe for concurrent use.
type members struct {
	mu     sync.RWMutex // guards all below
	byAddr map[netip.Addr]*client
	byKey  map[noise.PublicKey]*member
	size   int    // members that have a client of any kind
	left   []Gone // who has left, and the door does not know yet
}

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

func (m *members) init() {
	m.byAddr = make(map[netip.Addr]*client)
	m.byKey = make(map[noise.PublicKey]*member)
}

// at returns the client that has an address, or nil.
func (m *members) at(addr netip.Addr) *client {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.byAddr[addr]
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

// expect makes c the pending client of its identity, and returns the one that was
// it before, or nil.
func (m *members) expect(c *client) (before *client) {
	m.mu.Lock()
	defer m.mu.Unlock()
	is := m.byKey[c.key]
	if !is.has() {
		m.size++
	}
	before, is.pending = is.pending, c
	if before != nil {
		before.state.Store(gone)
	}
	return before
}

// settle makes a pending client, of which a packet has come, the current one. It
// returns the one that was it before, or nil, and false if c is not pending.
func (m *members) settle(c *client) (before *client, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	is := m.byKey[c.key]
	if is == nil || is.pending != c {
		return nil, false
	}
	before, is.current, is.pending = is.current, c, nil
	if before != nil {
		is.replaced[is.next] = before.instance
		is.next = (is.next + 1) % len(is.replaced)
		m.unroute(before)
		before.state.Store(gone)
	}
	for _, a := range c.addrs {
		m.byAddr[a] = c
	}
	if c.login {
		c.state.Store(loggingIn)
	} else {
		c.state.Store(open)
	}
	return before, true
}

// remove takes c away. It reports false if c is not there any more.
func (m *members) remove(c *client) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	is := m.byKey[c.key]
	switch {
	case is == nil:
		return false
	case is.current == c:
		is.current = nil
		m.unroute(c)
	case is.pending == c:
		is.pending = nil
	default:
		return false
	}
	c.state.Store(gone)
	if !is.has() {
		m.size--
		m.left = append(m.left, Gone{c.key, c.name, c.addrs})
	}
	return true
}

// unroute gives up the addresses of c. The caller holds mu.
func (m *members) unroute(c *client) {
	for _, a := range c.addrs {
		if m.byAddr[a] == c {
			delete(m.byAddr, a)
		}
	}
}

// takeLeft returns who has left and has not come back since.
func (m *members) takeLeft() (left []Gone) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range m.left {
		if is := m.byKey[g.Key]; is == nil || !is.has() {
			left = append(left, g)
		}
	}
	m.left = nil
	return left
}

// all appends all clients to dst.
func (m *members) all(dst []*client) []*client {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, is := range m.byKey {
		dst = is.append(dst)
	}
	return dst
}

// forget drops the members that have neither a client nor a hello to remember.
func (m *members) forget(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, is := range m.byKey {
		if !is.has() && now.Sub(is.newestAt) >= forgetAfter {
			delete(m.byKey, key)
		}
	}
}
