package pool

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"time"

	"stepvpn/step4-crypto/noise"
)

// SetFixed says which clients have fixed addresses, in place of those said
// before. A client has at most one of each family, and gets a leased one where it
// has none. A fixed address need not wait for a grace time.
//
// It returns the clients whose leases in use do not agree with it any more. They
// should be disconnected and their leases released; they will get others. Until
// then the owner of a fixed address is refused with ErrInUse.
//
// After an error nothing has changed.
func (p *Pool) SetFixed(fixed map[noise.PublicKey][]netip.Addr) (moved []noise.PublicKey, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	split, err := p.split(fixed)
	if err != nil {
		return nil, err
	}
	for i, f := range p.families {
		moved = append(moved, f.setFixed(split[i])...)
	}
	p.store.changed()
	slices.SortFunc(moved, compareKeys)
	return slices.Compact(moved), nil
}

// ErrInUse says that another client still has the fixed address of a client. This
// happens only when the address was fixed while that client was there. Its text
// can be told to the client; the error that wraps it is for the log.
var ErrInUse = errors.New("your fixed address is still in use by another client, try again later")

// canHaveFixed returns an error if a client can't have its fixed address yet.
func (f *family) canHaveFixed(id noise.PublicKey, addr netip.Addr, now time.Time) error {
	l := f.byAddr[addr]
	switch {
	case l == nil && len(f.byAddr) >= f.most && !f.canReuse(now):
		return f.full()
	case l != nil && l.inUse && l.owner != id:
		return fmt.Errorf("%w: %v", ErrInUse, addr)
	}
	return nil
}

// mayHave reports whether fixed addresses allow a client to have addr. A client with
// a fixed address may have only that one; any other client may have only addresses
// that are fixed for nobody.
func (f *family) mayHave(id noise.PublicKey, addr netip.Addr) bool {
	if own, ok := f.fixedOf[id]; ok {
		return own == addr
	}
	_, taken := f.fixed[addr]
	return !taken
}

// setFixed replaces the fixed addresses. It returns the clients that use an
// address that they may not have any more.
func (f *family) setFixed(fixed map[netip.Addr]noise.PublicKey) (moved []noise.PublicKey) {
	f.fixed, f.fixedOf = fixed, make(map[noise.PublicKey]netip.Addr, len(fixed))
	for addr, id := range fixed {
		f.fixedOf[id] = addr
	}
	// Some that were fixed are not, and the other way round: sort all anew.
	f.fresh = f.first
	f.released = f.released[:0]
	for _, l := range f.byAddr {
		l.place = -1
		allowed := l.owner == nobody || f.mayHave(l.owner, l.addr)
		switch {
		case l.inUse && !allowed:
			moved = append(moved, l.owner)
		case !l.inUse && !allowed:
			f.disown(l)
			f.queue(l)
		case !l.inUse:
			f.queue(l)
		}
	}
	return moved
}

// Next returns the addresses that a server with these subnets, leases and fixed addresses
// would give to a client that it does not know yet, in the order of Config.Addrs: an operator
// may then fix them for that client. It changes nothing, and may be called while the server
// runs; then leases of its last second may be missing. The error wraps ErrFull if there are none.
func Next(cfg Config, fixed map[noise.PublicKey][]netip.Addr) ([]netip.Addr, error) {
	now := time.Now()
	p, err := Open(Config{Addrs: cfg.Addrs, Grace: cfg.Grace})
	if err != nil {
		return nil, err
	}
	defer p.Close()
	if cfg.State != "" {
		saved, err := readState(cfg.State)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("the file of leases: %w", err)
		}
		p.adoptAll(saved, now)
	}
	if _, err := p.SetFixed(fixed); err != nil {
		return nil, err
	}
	var list []netip.Addr
	stranger := noise.GenerateKey().Public()
	for _, f := range p.families {
		addr, err := f.choose(stranger, now)
		if err != nil {
			return nil, err
		}
		list = append(list, addr)
	}
	return list, nil
}

// A FixedError says that a client can't have its fixed address. Here a client is a key;
// who knows its name tells that instead.
type FixedError struct {
	Client noise.PublicKey
	Why    string // such as "the fixed address 10.9.0.2 is in no subnet of the tunnel"
}

func (e *FixedError) Error() string {
	return fmt.Sprintf("client %s: %s", noise.FormatKey(e.Client), e.Why)
}

// split checks fixed addresses, and sorts them by family.
func (p *Pool) split(fixed map[noise.PublicKey][]netip.Addr) ([]map[netip.Addr]noise.PublicKey, error) {
	split := make([]map[netip.Addr]noise.PublicKey, len(p.families))
	for i := range split {
		split[i] = make(map[netip.Addr]noise.PublicKey)
	}
	for _, id := range sortedKeys(fixed) {
		if id == nobody {
			return nil, fmt.Errorf("a client without a key can't have a fixed address")
		}
		refused := func(format string, args ...any) error { return &FixedError{id, fmt.Sprintf(format, args...)} }
		had := make([]bool, len(split))
		for _, addr := range fixed[id] {
			i := slices.IndexFunc(p.families, func(f *family) bool { return f.prefix.Contains(addr) })
			if i < 0 {
				return nil, refused("the fixed address %v is in no subnet of the tunnel", addr)
			}
			f := p.families[i]
			if !f.has(addr) {
				why := "it stands for the whole subnet"
				if addr == f.server {
					why = "it is the server's own"
				}
				return nil, refused("the fixed address %v can't be a client's: %s", addr, why)
			}
			if had[i] {
				return nil, refused("there is more than one fixed address in %v", f.prefix)
			}
			had[i] = true
			if other, ok := split[i][addr]; ok {
				return nil, refused("client %s has the same fixed address %v", noise.FormatKey(other), addr)
			}
			split[i][addr] = id
		}
	}
	return split, nil
}

func sortedKeys[V any](m map[noise.PublicKey]V) []noise.PublicKey {
	keys := make([]noise.PublicKey, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compareKeys)
	return keys
}

func compareKeys(a, b noise.PublicKey) int { return bytes.Compare(a[:], b[:]) }
