// Package access decides who may come in, for a hub: it puts the registry, the
// passwords and the leases together, and cuts off who may not stay. Introduced in
// step 7.
package access

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"stepvpn/step4-crypto/keyfile"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/hub"
	"stepvpn/step7-auth/identity"
	"stepvpn/step7-auth/pool"
)

// A Config names the files.
type Config struct {
	Key      string         // the server's private key; see package keyfile
	PSK      string         // a key that all clients have too; empty: none
	Registry string         // the clients; see package identity
	Leases   string         // keeps who has which address; see package pool
	Addrs    []netip.Prefix // the server's own; the clients get others of the same networks
}

// An Access is the registry and the leases. It is safe for concurrent use.
type Access struct {
	// Handshake is how clients prove who they are, and the server too.
	Handshake noise.Config

	registry  *identity.Watcher
	passwords *identity.Passwords
	leases    *pool.Pool
}

// Open reads the keys and the registry, and takes over the leases of the last run.
func Open(cfg Config) (*Access, error) {
	handshake, err := handshakeOf(cfg)
	if err != nil {
		return nil, err
	}
	registry, err := identity.Watch(cfg.Registry)
	if err != nil {
		return nil, err
	}
	leases, err := pool.Open(pool.Config{Addrs: cfg.Addrs, State: cfg.Leases, Grace: pool.DefaultGrace})
	if err != nil {
		return nil, err
	}
	if _, err := leases.SetFixed(fixedAddrs(registry.Registry())); err != nil {
		leases.Close()
		return nil, err
	}
	return &Access{handshake, registry, identity.NewPasswords(), leases}, nil
}

func handshakeOf(cfg Config) (noise.Config, error) {
	key, err := keyfile.Read(cfg.Key)
	if err != nil {
		return noise.Config{}, err
	}
	handshake := noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.IK, Static: (*noise.PrivateKey)(&key)}
	if cfg.PSK != "" {
		psk, err := keyfile.Read(cfg.PSK)
		if err != nil {
			return noise.Config{}, err
		}
		handshake.Pattern, handshake.PSK = noise.IKpsk2, &psk
	}
	return handshake, nil
}

// Close saves the leases.
func (a *Access) Close() error { return a.leases.Close() }

// Lookup is for hub.Config.
func (a *Access) Lookup(key noise.PublicKey) (hub.Account, bool) {
	c, ok := a.registry.Registry().ByKey(key)
	if !ok {
		return hub.Account{}, false
	}
	return hub.Account{Name: c.Name, Expires: c.Expires, NeedsPassword: c.NeedsPassword()}, true
}

// Lease is for hub.Config.
func (a *Access) Lease(key noise.PublicKey, now time.Time) ([]netip.Prefix, error) {
	leased, err := a.leases.Lease(key, now)
	for _, why := range []error{pool.ErrFull, pool.ErrInUse} {
		if errors.Is(err, why) {
			slog.Warn("a client gets no address", "error", err)
			return nil, &secure.Rejected{Reason: why.Error()}
		}
	}
	return leased, err
}

// Left is for hub.Config.
func (a *Access) Left(left []hub.Gone) {
	now := time.Now()
	var addrs []netip.Addr
	for _, g := range left {
		addrs = append(addrs, g.Addrs...)
		a.leases.Release(g.Key, now)
	}
	flushFlows(addrs)
}

// Login is for hub.Config.
func (a *Access) Login(ctx context.Context, key noise.PublicKey, user, password string) error {
	c, ok := a.registry.Registry().ByKey(key)
	if !ok {
		return identity.ErrWrongPassword
	}
	err := a.passwords.Check(ctx, c, user, password)
	if errors.Is(err, identity.ErrWrongPassword) {
		return &secure.Rejected{Reason: err.Error(), Final: true}
	}
	return err
}

// Follow cuts off who was revoked, has expired or has changed, as the registry
// changes, until the function that it returns is called. SIGHUP has the registry
// read at once.
func (a *Access) Follow(cut func(noise.PublicKey, secure.Rejected)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hup:
				a.registry.Reload()
			}
		}
	})
	running.Go(func() {
		a.registry.Run(ctx, func(change *identity.Change) { a.apply(change, cut) })
	})
	return func() {
		signal.Stop(hup)
		cancel()
		running.Wait()
	}
}

// apply does what a change of the registry asks for.
func (a *Access) apply(change *identity.Change, cut func(noise.PublicKey, secure.Rejected)) {
	for _, c := range change.Revoked {
		cut(c.Key, secure.Rejected{Reason: "the access of " + c.Name + " was revoked", Final: true})
		a.leases.Forget(c.Key, time.Now())
	}
	for _, c := range change.Expired {
		cut(c.Key, secure.Rejected{Reason: "the access of " + c.Name + " has expired", Final: true})
	}
	for _, c := range change.Updated {
		cut(c.Key, secure.Rejected{Reason: "the server's entry for " + c.Name + " has changed"}) // it may come back
	}
	moved, err := a.leases.SetFixed(fixedAddrs(change.New))
	if err != nil {
		slog.Error("the fixed addresses of the registry can't be: the old ones stay", "error", err)
	}
	for _, key := range moved {
		cut(key, secure.Rejected{Reason: "this client's address was given to another one"})
	}
}

// fixedAddrs returns who has fixed addresses.
func fixedAddrs(r *identity.Registry) map[noise.PublicKey][]netip.Addr {
	fixed := make(map[noise.PublicKey][]netip.Addr)
	for c := range r.All() {
		if len(c.Addrs) > 0 {
			fixed[c.Key] = c.Addrs
		}
	}
	return fixed
}
