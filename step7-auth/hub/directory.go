package hub

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"stepvpn/step4-crypto/noise"
)

// This file is who is there: it finds clients by key and by address, and moves each from pending to
// logging in, open and gone.

// A directory finds the clients that are there: by their identity, that is their key, and
// by their addresses in the tunnel. It is safe for concurrent use.
type directory struct {
	mu     sync.RWMutex // guards all below
	byAddr map[netip.Addr]*client
	byKey  map[noise.PublicKey]*identity
	size   int                      // identities that have a client of any kind
	left   map[noise.PublicKey]Gone // clients that have left, which Admission does not know yet
	spare  int                      // how many more pending clients there may be, beyond one for each identity
}

func (d *directory) init(maxClients int) {
	d.spare = spareFor(maxClients)
	d.byAddr = make(map[netip.Addr]*client)
	d.byKey = make(map[noise.PublicKey]*identity)
	d.left = make(map[noise.PublicKey]Gone)
}

// at returns the client that has an address, or nil.
func (d *directory) at(addr netip.Addr) *client {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.byAddr[addr]
}

// find returns the client of an identity with this instance number, or nil.
func (d *directory) find(key noise.PublicKey, instance uint64) *client {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.byKey[key].with(instance)
}

// of returns all clients of an identity.
func (d *directory) of(key noise.PublicKey) (list []*client) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if is := d.byKey[key]; is != nil {
		list = is.append(list)
	}
	return list
}

// expect makes c a pending client of its identity. If that has too many, expect removes
// one and returns it; otherwise it returns nil.
func (d *directory) expect(c *client) (before *client) {
	d.mu.Lock()
	defer d.mu.Unlock()
	is := d.byKey[c.key]
	if !is.has() {
		d.size++
	}
	if before = d.tooMany(is); before != nil {
		d.drop(is, before)
		d.unroute(before)
		before.state.Store(gone)
	}
	if len(is.pending) > 0 {
		d.spare--
	}
	is.pending = append(is.pending, c)
	return before
}

// drop takes c off the list of its identity's pending clients. It reports false if c is
// not on it. The caller holds mu.
func (d *directory) drop(is *identity, c *client) bool {
	i := slices.Index(is.pending, c)
	if i < 0 {
		return false
	}
	is.pending = slices.Delete(is.pending, i, i+1)
	if len(is.pending) > 0 {
		d.spare++
	}
	return true
}

// arrive notes that a packet has come from a client that still has to log in. Until it
// has, the client that was there before stays: the key alone is not enough to replace it.
// It reports false if c is not pending.
func (d *directory) arrive(c *client) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	is := d.byKey[c.key]
	if is == nil || !slices.Contains(is.pending, c) || c.state.Load() != pending {
		return false
	}
	c.state.Store(loggingIn)
	if is.current == nil {
		d.route(c) // so that packets for it are counted as "not logged in"
	}
	return true
}

// settle makes a pending client the current client of its identity. It returns the
// previous one, or nil, and reports false if c is not pending.
func (d *directory) settle(c *client) (before *client, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	is := d.byKey[c.key]
	if is == nil || !d.drop(is, c) {
		return nil, false
	}
	before, is.current = is.current, c
	is.advance(c.newest)
	is.remember(c.instance)
	if before != nil {
		d.displace(is, before)
		before.happened(Disconnected, replaced.Reason)
	}
	d.route(c)
	c.state.Store(open)
	c.wasIn = true
	c.happened(Connected, "")
	return before, true
}

// displace removes a client in favour of another one of its identity. The same instance
// does not get in again (see object). The caller holds mu.
func (d *directory) displace(is *identity, c *client) {
	c.state.Store(gone)
	is.replaced[is.next] = c.instance
	is.next = (is.next + 1) % len(is.replaced)
	d.unroute(c)
}

// remove removes c, and says why to those who are told events. It reports false if c is not there
// any more.
func (d *directory) remove(c *client, why string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	is := d.byKey[c.key]
	in := c.state.Load() == open
	switch {
	case is == nil:
		return false
	case is.current == c:
		is.current = nil
	case d.drop(is, c):
	default:
		return false
	}
	d.unroute(c)
	c.state.Store(gone)
	if in {
		c.happened(Disconnected, why)
	}
	if !is.has() {
		d.size--
		d.left[c.key] = Gone{c.key, c.name, c.addrs, in, c.by.Load().Name}
	}
	return true
}

// route enters c in byAddr, under its addresses. The caller holds mu.
func (d *directory) route(c *client) {
	for _, a := range c.addrs {
		d.byAddr[a] = c
	}
}

// unroute removes c from byAddr. The caller holds mu.
func (d *directory) unroute(c *client) {
	for _, a := range c.addrs {
		if d.byAddr[a] == c {
			delete(d.byAddr, a)
		}
	}
}

// takeLeft returns the clients that have left and have not come back since.
func (d *directory) takeLeft() (left []Gone) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range d.left {
		if is := d.byKey[g.Key]; is == nil || !is.has() {
			left = append(left, g)
		}
	}
	clear(d.left)
	return left
}

// all appends all clients to dst.
func (d *directory) all(dst []*client) []*client {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, is := range d.byKey {
		dst = is.append(dst)
	}
	return dst
}

// forget drops the identities that have neither a client nor an initiation to remember. It
// searches under a read lock, so that packets can find their clients meanwhile.
func (d *directory) forget(now time.Time) {
	old := func(is *identity) bool { return !is.has() && now.Sub(is.heard) >= forgetAfter }
	var keys []noise.PublicKey
	d.mu.RLock()
	for key, is := range d.byKey {
		if old(is) {
			keys = append(keys, key)
		}
	}
	d.mu.RUnlock()
	if len(keys) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, key := range keys {
		if old(d.byKey[key]) { // it is still there: no other goroutine drops any
			delete(d.byKey, key)
		}
	}
}
