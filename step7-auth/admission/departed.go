package admission

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"stepvpn/step4-crypto/noise"
)

// departed holds the addresses of clients that have left and may come back: a client that is
// restarted is back within seconds, and its connections go on if the kernel still knows them.
// They are forgotten after a while, and before somebody else gets such an address. There are
// no more addresses than the pool leases. It is safe for concurrent use.
type departed struct {
	forget func([]netip.Addr) error
	stay   time.Duration

	mu     sync.Mutex // guards all below; held while the kernel forgets
	owners map[netip.Addr]owner
	timer  *time.Timer // calls tidy; nil if there is nothing to do
	closed bool
}

// An owner is whose connections an address still has, and until when they are kept.
type owner struct {
	key   noise.PublicKey
	until time.Time
}

// newDeparted returns an empty set. As nobody else gets an address within the grace time, half
// of it is left for the kernel to forget.
func newDeparted(forget func([]netip.Addr) error, grace time.Duration) *departed {
	if forget == nil {
		forget = func([]netip.Addr) error { return nil }
	}
	return &departed{forget: forget, stay: grace / 2, owners: make(map[netip.Addr]owner)}
}

// add keeps the connections of a client that has left.
func (d *departed) add(key noise.PublicKey, addrs []netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range addrs {
		d.owners[a] = owner{key, time.Now().Add(d.stay)}
	}
	d.wait(d.stay)
}

// wait has tidy called. The caller holds mu.
func (d *departed) wait(after time.Duration) {
	if d.timer == nil && len(d.owners) > 0 && !d.closed {
		d.timer = time.AfterFunc(after, d.tidy)
	}
}

// tidy forgets those that have not come back in time.
func (d *departed) tidy() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.timer = nil
	now := time.Now()
	d.drop(func(o owner) bool { return !now.Before(o.until) })
	d.wait(max(d.stay/8, time.Second))
}

// end forgets a client that must not come back.
func (d *departed) end(key noise.PublicKey, addrs []netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []netip.Addr
	for _, a := range addrs {
		if d.owners[a].key == key {
			list = append(list, a)
			delete(d.owners, a)
		}
	}
	d.tell(list)
}

// endAll forgets all clients that must not come back.
func (d *departed) endAll(banned func(noise.PublicKey) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop(func(o owner) bool { return banned(o.key) })
}

// lease is to be called before a client uses addresses: its own connections stay, and those of
// others at these addresses are forgotten.
func (d *departed) lease(key noise.PublicKey, addrs []netip.Prefix) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var others []netip.Addr
	for _, p := range addrs {
		if o, ok := d.owners[p.Addr()]; ok && o.key != key {
			others = append(others, p.Addr())
		}
		delete(d.owners, p.Addr())
	}
	d.tell(others)
}

// drop forgets some. The caller holds mu.
func (d *departed) drop(which func(owner) bool) {
	var list []netip.Addr
	for a, o := range d.owners {
		if which(o) {
			list = append(list, a)
			delete(d.owners, a)
		}
	}
	d.tell(list)
}

// tell has the kernel forget the connections of addresses. The caller holds mu.
func (d *departed) tell(addrs []netip.Addr) {
	if len(addrs) == 0 {
		return
	}
	if err := d.forget(addrs); err != nil {
		slog.Warn("could not clean up after clients that have left", "error", err)
	}
}

// close forgets nothing: clients come back to the next server.
func (d *departed) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.timer != nil {
		d.timer.Stop()
	}
}
