package hub

import (
	"net/netip"
	"sync"
	"time"

	"stepvpn/step4-crypto/noise"
)

// members is who is there. It is safe for concurrent use.
type members struct {
	mu     sync.RWMutex // guards all below
	byAddr map[netip.Addr]*client
	byKey  map[noise.PublicKey]*member
	size   int    // members that have a client of any kind
	left   []Gone // who has left, and the door does not know yet
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

// forget drops the members that have neither a client nor a hello to remember. It
// looks for them without keeping packets from finding their clients.
func (m *members) forget(now time.Time) {
	old := func(is *member) bool { return !is.has() && now.Sub(is.newestAt) >= forgetAfter }
	var keys []noise.PublicKey
	m.mu.RLock()
	for key, is := range m.byKey {
		if old(is) {
			keys = append(keys, key)
		}
	}
	m.mu.RUnlock()
	if len(keys) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range keys {
		if old(m.byKey[key]) { // nobody else drops members
			delete(m.byKey, key)
		}
	}
}
