package pool

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"stepvpn/step4-crypto/noise"
)

// A Pool is the set of leases. It is safe for concurrent use: calls take turns,
// and none of them waits for the disk, except Open and Close. A lease costs
// O(log n) time.
type Pool struct {
	store   *store // writes the leases to the disk; nil if nothing is kept
	closing func() error

	mu       sync.Mutex // guards all below
	families []*family
	closed   bool
}

// A Config is what a Pool needs to know.
type Config struct {
	// Addrs are the addresses of the server in the tunnel, at most one of IPv4
	// and one of IPv6, such as 10.8.0.1/24 and fd00:8::1/64. The clients get the
	// other addresses of these subnets.
	Addrs []netip.Prefix

	// State is the file that keeps the leases from one run of the server to the
	// next. Its folder is made if it does not exist, and nobody else may be able
	// to write there. With "" the leases are forgotten at the end.
	State string

	// Grace is how long an address is kept for its client after it was released.
	// 0 lets another client have it at once.
	Grace time.Duration
}

// maxLeases is how many addresses of one subnet are leased or remembered at
// most: as many as a /16 has. It bounds the memory (about 300 bytes each) and
// the state file, also where the subnet is larger.
const maxLeases = 1 << 16

// Open returns a pool with the leases that the state file holds. None counts as
// in use. They are released as of when the pool was closed, or, if it was not
// (the server was killed), as of now.
//
// A state file that does not exist is an empty one. One that is damaged is put
// aside, under the same name with ".damaged" at the end, with a warning: that
// clients may get other addresses than before is better than no server. For the
// same reason a disk that is full or read-only gets a warning, and what is on it
// is read. But a file that others may write to or that another server uses is
// an error.
func Open(cfg Config) (*Pool, error) {
	p := &Pool{}
	if cfg.Grace < 0 {
		return nil, fmt.Errorf("a grace time of %v is negative", cfg.Grace)
	}
	var err error
	if p.families, err = newFamilies(cfg.Addrs, cfg.Grace); err != nil {
		return nil, err
	}
	if cfg.State != "" {
		if err := p.restore(cfg.State); err != nil {
			return nil, err
		}
	}
	p.closing = sync.OnceValue(p.shutDown)
	return p, nil
}

func newFamilies(addrs []netip.Prefix, grace time.Duration) (families []*family, err error) {
	if len(addrs) == 0 {
		return nil, errors.New("the server has no address in the tunnel, such as 10.8.0.1/24")
	}
	for _, addr := range addrs {
		s, err := newSubnet(addr)
		if err != nil {
			return nil, err
		}
		for _, other := range families {
			if other.server.Is4() == s.server.Is4() {
				return nil, fmt.Errorf("%v and %v are of the same family: the server has at most one IPv4 and one IPv6 address in the tunnel",
					netip.PrefixFrom(other.server, other.prefix.Bits()), addr)
			}
		}
		families = append(families, newFamily(s, grace))
	}
	return families, nil
}

func newFamily(s subnet, grace time.Duration) *family {
	return &family{
		subnet:  s,
		grace:   grace,
		most:    maxLeases,
		byAddr:  make(map[netip.Addr]*lease),
		byOwner: make(map[noise.PublicKey]*lease),
		fresh:   s.first,
	}
}

// Lease gives a client its addresses, one of each family and in the order of
// Config.Addrs. Each comes with the length of the subnet, as the client's device
// should have it. They are in use until Release or Forget. A client that has
// leases in use already gets the same ones again.
//
// An error wraps ErrFull or ErrInUse, or the pool is closed. Then nothing has
// changed: a client gets all its addresses or none.
func (p *Pool) Lease(id noise.PublicKey, now time.Time) ([]netip.Prefix, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("the pool: %w", os.ErrClosed)
	}
	if id == nobody {
		return nil, errors.New("a client without a key can't have a lease")
	}
	chosen := make([]netip.Addr, len(p.families))
	for i, f := range p.families {
		var err error
		if chosen[i], err = f.choose(id, now); err != nil {
			return nil, err
		}
	}
	leases := make([]netip.Prefix, len(p.families))
	changed := false
	for i, f := range p.families {
		changed = f.take(id, chosen[i], now) || changed
		leases[i] = netip.PrefixFrom(chosen[i], f.prefix.Bits())
	}
	if changed {
		p.store.changed()
	}
	return leases, nil
}

// Release says that a client does not use its leases any more. The grace time
// begins. Leases are not counted: when a client has several connections, or a new
// one has taken the place of an old one, only the end of the last one is a
// Release. A client without leases in use is ignored.
func (p *Pool) Release(id noise.PublicKey, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.families {
		if f.release(id, now) {
			p.store.changed()
		}
	}
}

// Forget ends the leases of a client that is not known any more. Nobody gets its
// addresses before the grace time has passed, counted from now if they were in
// use and from their release otherwise.
func (p *Pool) Forget(id noise.PublicKey, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.families {
		if f.forget(id, now) {
			p.store.changed()
		}
	}
}

// Close releases all leases and saves them. It may be called more than once.
func (p *Pool) Close() error { return p.closing() }

func (p *Pool) shutDown() error {
	p.mu.Lock()
	p.closed = true
	for _, f := range p.families {
		f.releaseAll(time.Now())
	}
	p.mu.Unlock()
	return p.store.close()
}

func (f *family) releaseAll(now time.Time) {
	for _, l := range f.byAddr {
		if l.inUse {
			f.stop(l, now)
		}
	}
}
