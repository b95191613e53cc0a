// Package admission decides which clients are let in, and with which addresses. It answers
// a hub's questions from the registry (package identity) and the pool of addresses
// (package pool), and checks passwords. Introduced in step 7.
//
// It also follows the registry: a client that is revoked or expires while connected is
// cut off at once, and so is one whose fixed address has changed. A client whose password
// has changed has to log in again.
package admission

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/hub"
	"stepvpn/step7-auth/identity"
	"stepvpn/step7-auth/pool"
)

// A Config says where the registry and the pool are.
type Config struct {
	Registry string      // file with the clients
	Copy     string      // a copy of that file, which is read instead (in step 8); "" for none
	Pool     pool.Config // the clients' addresses

	// Forget is called with the addresses of clients that have left and have not come back
	// within half of Pool.Grace, or must not. Its error is logged. It may be nil.
	Forget func([]netip.Addr) error
}

// A Controller lets clients in or turns them away: it is a hub.Admission. Its methods
// are safe for concurrent use.
type Controller struct {
	registry  *identity.Watcher
	addresses *pool.Pool
	passwords *identity.Passwords
	departed  *departed
}

// Open reads the registry and the state of the pool. Call Close when done.
func Open(c Config) (*Controller, error) {
	registry, err := identity.WatchCopy(c.Registry, cmp.Or(c.Copy, c.Registry))
	if err != nil {
		return nil, err
	}
	addresses, err := pool.Open(c.Pool)
	if err != nil {
		return nil, err
	}
	d := &Controller{registry, addresses, identity.NewPasswords(), newDeparted(c.Forget, c.Pool.Grace)}
	for key, addrs := range addresses.Away(time.Now()) { // of clients of the server before
		d.departed.add(key, addrs)
	}
	if _, err := d.setFixed(registry.Registry()); err != nil {
		return nil, errors.Join(app.Hint(err, "See 'addr=' in %s.", c.Registry), d.Close())
	}
	return d, nil
}

// Check returns an error if a client of the registry has a fixed address that is not
// possible in these subnets. With that, the server would not start.
func Check(r *identity.Registry, subnets []netip.Prefix) error {
	addresses, err := pool.Open(pool.Config{Addrs: subnets})
	if err != nil {
		return err
	}
	_, err = (&Controller{addresses: addresses}).setFixed(r)
	return errors.Join(err, addresses.Close())
}

// Next returns the addresses that a new client of the registry would get: see pool.Next.
func Next(r *identity.Registry, c pool.Config) ([]netip.Addr, error) { return pool.Next(c, fixed(r)) }

// setFixed gives the clients of a registry their fixed addresses. It returns the clients
// whose addresses have changed by that.
func (d *Controller) setFixed(r *identity.Registry) (moved []noise.PublicKey, err error) {
	moved, err = d.addresses.SetFixed(fixed(r))
	if e, ok := errors.AsType[*pool.FixedError](err); ok {
		if c, known := r.ByKey(e.Client); known {
			err = fmt.Errorf("client %s (line %d of the registry): %s", c.Name, c.Line, e.Why)
		}
	}
	return moved, err
}

// Registry returns the registry that is in force.
func (d *Controller) Registry() *identity.Registry { return d.registry.Registry() }

// Close gives back all addresses, and saves which client had which.
func (d *Controller) Close() error {
	d.departed.close()
	return d.addresses.Close()
}

// Reload reads the registry again, now. It does not wait.
func (d *Controller) Reload() { d.registry.Reload() }

// What a client is told that can't stay. One whose address has changed may come back at
// once, and so may one whose password has changed, with the new password.
var (
	revoked = secure.Rejected{Reason: "the access of this client was revoked", Final: true}
	expired = secure.Rejected{Reason: "the access of this client has expired", Final: true}
	moved   = secure.Rejected{Reason: "the address of this client has changed"}
	relogin = secure.Rejected{Reason: "the password of this client has changed"}
)

// Run follows the registry until ctx ends. cut ends the session of a client that
// must not stay, and tells it why.
func (d *Controller) Run(ctx context.Context, cut func(key noise.PublicKey, why secure.Rejected)) {
	d.registry.Run(ctx, func(change *identity.Change) {
		changed, err := d.setFixed(change.New)
		if err != nil {
			slog.Error("the fixed addresses of the registry are refused: the last good ones stay in force", "error", err)
		}
		for _, c := range change.Revoked {
			slog.Info("revoked", "client", c.Name)
			cut(c.Key, revoked)
			d.addresses.Forget(c.Key, time.Now())
		}
		for _, c := range change.Expired {
			slog.Info("expired", "client", c.Name)
			cut(c.Key, expired)
		}
		d.departed.endAll(d.banned)
		for _, key := range changed {
			cut(key, moved)
		}
		for _, c := range change.Updated {
			if before, ok := change.Old.ByKey(c.Key); ok && newPassword(before, c) {
				slog.Info("password changed", "client", c.Name)
				cut(c.Key, relogin)
			}
		}
	})
}

// newPassword reports whether a client has to give a password that it has not given before.
func newPassword(before, now *identity.Client) bool {
	return now.NeedsPassword() && (!before.NeedsPassword() || before.Password.String() != now.Password.String())
}

// fixed returns the fixed addresses of all clients that have any.
func fixed(r *identity.Registry) map[noise.PublicKey][]netip.Addr {
	list := make(map[noise.PublicKey][]netip.Addr)
	for c := range r.All() {
		if len(c.Addrs) > 0 {
			list[c.Key] = c.Addrs
		}
	}
	return list
}

// Lookup returns the account of the client that has this key.
func (d *Controller) Lookup(key noise.PublicKey) (hub.Account, bool) {
	c, ok := d.registry.Registry().ByKey(key)
	if !ok {
		return hub.Account{}, false
	}
	return hub.Account{Name: c.Name, Expires: c.Expires, NeedsPassword: c.NeedsPassword(), FixedAddrs: len(c.Addrs) > 0, OwnPSK: c.OwnPSK}, true
}

// Lease gives a client its addresses. Its error wraps a *secure.Rejected if the client
// is to be told about it.
func (d *Controller) Lease(key noise.PublicKey, now time.Time) ([]netip.Prefix, error) {
	addrs, err := d.addresses.Lease(key, now)
	for _, known := range []error{pool.ErrFull, pool.ErrInUse} {
		if errors.Is(err, known) {
			return nil, detailed{err, &secure.Rejected{Reason: known.Error()}}
		}
	}
	d.departed.lease(key, addrs)
	return addrs, err
}

// A detailed error is for the log. The client is told only the error that it wraps.
type detailed struct {
	error
	told *secure.Rejected
}

func (d detailed) Unwrap() error { return d.told }

// Left takes back the addresses of clients that have left.
func (d *Controller) Left(gone []hub.Gone) {
	now := time.Now()
	for _, g := range gone {
		d.addresses.Release(g.Key, now)
		d.departed.add(g.Key, g.Addrs)
		if d.banned(g.Key) { // asked after add: so either this or Run sees a client that is revoked meanwhile
			d.departed.end(g.Key, g.Addrs)
		}
	}
}

// banned reports whether a client must not come in (any more).
func (d *Controller) banned(key noise.PublicKey) bool {
	c, known := d.registry.Registry().ByKey(key)
	return !known || c.Expired(time.Now())
}

// Login checks a password. Its error is a *secure.Rejected, or that of ctx.
func (d *Controller) Login(ctx context.Context, key noise.PublicKey, from hub.Source, user, password string) error {
	c, _ := d.registry.Registry().ByKey(key)
	err := d.passwords.Check(ctx, c, identity.Source(from), user, password)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return &secure.Rejected{Reason: err.Error(), Final: errors.Is(err, identity.ErrWrongPassword)}
}
