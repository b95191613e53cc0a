package hub

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"stepvpn/step4-crypto/noise"
)

// members holds the clients that are there. It is safe for concurrent use.
type members struct {
	mu     sync.RWMutex // guards all below
	byAddr map[netip.Addr]*client
	byKey  map[noise.PublicKey]*member
	size   int                      // members that have a client of any kind
	left   map[noise.PublicKey]Gone // clients that have left, which Admission does not know yet
	spare  int                      // how many more pending clients there may be, beyond one for each identity
}

func (m *members) init(maxClients int) {
	m.spare = spareFor(maxClients)
	m.byAddr = make(map[netip.Addr]*client)
	m.byKey = make(map[noise.PublicKey]*member)
	m.left = make(map[noise.PublicKey]Gone)
}

// at returns the client that has an address, or nil.
func (m *members) at(addr netip.Addr) *client {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.byAddr[addr]
}

// expect makes c a pending client of its identity. If that has too many, expect removes
// one and returns it; otherwise it returns nil.
func (m *members) expect(c *client) (before *client) {
	m.mu.Lock()
	defer m.mu.Unlock()
	is := m.byKey[c.key]
	if !is.has() {
		m.size++
	}
	if before = m.tooMany(is); before != nil {
		m.drop(is, before)
		m.unroute(before)
		before.state.Store(gone)
	}
	if len(is.pending) > 0 {
		m.spare--
	}
	is.pending = append(is.pending, c)
	return before
}

// drop takes c off the list of its identity's pending clients. It reports false if c is
// not on it. The caller holds mu.
func (m *members) drop(is *member, c *client) bool {
	i := slices.Index(is.pending, c)
	if i < 0 {
		return false
	}
	is.pending = slices.Delete(is.pending, i, i+1)
	if len(is.pending) > 0 {
		m.spare++
	}
	return true
}

// arrive notes that a packet has come from a client that still has to log in. Until it
// has, the client that was there before stays: the key alone is not enough to replace it.
// It reports false if c is not pending.
func (m *members) arrive(c *client) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	is := m.byKey[c.key]
	if is == nil || !slices.Contains(is.pending, c) || c.state.Load() != pending {
		return false
	}
	c.state.Store(loggingIn)
	if is.current == nil {
		m.route(c) // so that packets for it are counted as "not logged in"
	}
	return true
}

// settle makes a pending client the current client of its identity. It returns the
// previous one, or nil, and reports false if c is not pending.
func (m *members) settle(c *client) (before *client, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	is := m.byKey[c.key]
	if is == nil || !m.drop(is, c) {
		return nil, false
	}
	before, is.current = is.current, c
	is.advance(c.newest)
	is.remember(c.instance)
	if before != nil {
		m.displace(is, before)
	}
	m.route(c)
	c.state.Store(open)
	return before, true
}

// displace removes a client in favour of another one of its identity. The same instance
// does not get in again. The caller holds mu.
func (m *members) displace(is *member, c *client) {
	c.state.Store(gone)
	is.replaced[is.next] = c.instance
	is.next = (is.next + 1) % len(is.replaced)
	m.unroute(c)
}

// remove removes c. It reports false if c is not there any more.
func (m *members) remove(c *client) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	is := m.byKey[c.key]
	in := c.state.Load() == open
	switch {
	case is == nil:
		return false
	case is.current == c:
		is.current = nil
	case m.drop(is, c):
	default:
		return false
	}
	m.unroute(c)
	c.state.Store(gone)
	if !is.has() {
		m.size--
		m.left[c.key] = Gone{c.key, c.name, c.addrs, in, c.next.Load()}
	}
	return true
}

// route enters c in byAddr, under its addresses. The caller holds mu.
func (m *members) route(c *client) {
	for _, a := range c.addrs {
		m.byAddr[a] = c
	}
}

// unroute removes c from byAddr. The caller holds mu.
func (m *members) unroute(c *client) {
	for _, a := range c.addrs {
		if m.byAddr[a] == c {
			delete(m.byAddr, a)
		}
	}
}

// takeLeft returns the clients that have left and have not come back since.
func (m *members) takeLeft() (left []Gone) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range m.left {
		if is := m.byKey[g.Key]; is == nil || !is.has() {
			left = append(left, g)
		}
	}
	clear(m.left)
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

// forget drops the members that have neither a client nor an initiation to remember. It
// searches under a read lock, so that packets can find their clients meanwhile.
func (m *members) forget(now time.Time) {
	old := func(is *member) bool { return !is.has() && now.Sub(is.heard) >= forgetAfter }
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
		if old(m.byKey[key]) { // it is still there: no other goroutine drops members
			delete(m.byKey, key)
		}
	}
}
