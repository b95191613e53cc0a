package admission

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/hub"
	"stepvpn/step7-auth/identity"
	"stepvpn/step7-auth/pool"
)

func TestMain(m *testing.M) {
	slog.SetLogLoggerLevel(slog.LevelError + 1)
	goleak.VerifyTestMain(m)
}

// An office is a desk with its files.
type office struct {
	*Controller
	t        *testing.T
	registry string

	mu        sync.Mutex   // guards all below
	forgotten []netip.Addr // by Config.Forget
	cut       []string     // key and reason, in base64 and a space between
}

func newOffice(t *testing.T, addr string, grace time.Duration, lines ...string) *office {
	t.Helper()
	dir := t.TempDir()
	o := &office{t: t, registry: filepath.Join(dir, "clients")}
	o.write(lines...)
	d, err := Open(Config{
		Registry: o.registry,
		Pool:     pool.Config{Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}, State: filepath.Join(dir, "leases"), Grace: grace},
		Forget: func(addrs []netip.Addr) error {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.forgotten = append(o.forgotten, addrs...)
			return errors.New("of which the log tells")
		},
	})
	require.NoError(t, err)
	o.Controller = d
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return o
}

func (o *office) write(lines ...string) {
	o.t.Helper()
	draft := o.registry + ".draft"
	require.NoError(o.t, os.WriteFile(draft, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	require.NoError(o.t, os.Rename(draft, o.registry))
}

// run follows the registry until the test ends.
func (o *office) run() {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.Run(ctx, func(key noise.PublicKey, why secure.Rejected) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.cut = append(o.cut, noise.FormatKey(key)+" "+why.Reason)
		})
	}()
	o.t.Cleanup(func() { stop(); <-done })
}

// cutOff waits until so many were cut off, and returns them.
func (o *office) cutOff(n int) (cut []string) {
	o.t.Helper()
	require.Eventually(o.t, func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		cut = append([]string(nil), o.cut...)
		return len(cut) >= n
	}, 20*time.Second, 5*time.Millisecond)
	return cut
}

func key() noise.PublicKey { return noise.GenerateKey().Public() }

// line is one of a registry.
func line(name string, k noise.PublicKey, options ...string) string {
	return strings.Join(append([]string{name, noise.FormatKey(k)}, options...), " ")
}

func TestLookup(t *testing.T) {
	alice, bob := key(), key()
	hash, err := identity.HashPassword("secret")
	require.NoError(t, err)
	o := newOffice(t, "10.8.0.1/24", 0, line("alice", alice), line("bob", bob, "expires=2099-01-01", "password="+hash.String()))
	a, ok := o.Lookup(alice)
	require.True(t, ok)
	require.Equal(t, hub.Account{Name: "alice"}, a)
	a, ok = o.Lookup(bob)
	require.True(t, ok)
	require.Equal(t, hub.Account{Name: "bob", Expires: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC), NeedsPassword: true}, a)
	_, ok = o.Lookup(key())
	require.False(t, ok)
}

// The client is told less than the log.
func TestLeaseRefused(t *testing.T) {
	alice, bob := key(), key()
	o := newOffice(t, "10.8.0.1/30", time.Hour, line("alice", alice), line("bob", bob))
	got, err := o.Lease(alice, time.Now())
	require.NoError(t, err)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.8.0.2/30")}, got)
	_, err = o.Lease(bob, time.Now())
	told, ok := errors.AsType[*secure.Rejected](err)
	require.True(t, ok)
	require.Equal(t, &secure.Rejected{Reason: "the server has no free address, try again later"}, told)
	require.EqualError(t, err, "the server has no free address, try again later: of 10.8.0.0/30, 1 addresses are in use, 0 were released less than 1h0m0s ago, and 0 are fixed")
}

func TestLeft(t *testing.T) {
	alice, bob := key(), key()
	o := newOffice(t, "10.8.0.1/30", 0, line("alice", alice), line("bob", bob))
	_, err := o.Lease(alice, time.Now())
	require.NoError(t, err)
	addr := netip.MustParseAddr("10.8.0.2")
	o.Left([]hub.Gone{{Key: alice, Name: "alice", Addrs: []netip.Addr{addr}}})
	_, err = o.Lease(bob, time.Now())
	require.NoError(t, err, "her address is free")
	o.mu.Lock()
	defer o.mu.Unlock()
	require.Equal(t, []netip.Addr{addr}, o.forgotten, "her connections are not his")
}

func TestRegistryChanges(t *testing.T) {
	alice, bob, carol, dora := key(), key(), key(), key()
	o := newOffice(t, "10.8.0.1/29", time.Hour, line("alice", alice), line("bob", bob), line("carol", carol), line("dora", dora, "addr=10.8.0.6"))
	o.run()
	for _, k := range []noise.PublicKey{alice, bob, carol, dora} {
		_, err := o.Lease(k, time.Now())
		require.NoError(t, err)
	}
	// Alice stays, bob goes, carol's time is over, dora has another address.
	o.write(line("alice", alice), line("carol", carol, "expires=2020-01-01"), line("dora", dora, "addr=10.8.0.5"))
	require.ElementsMatch(t, []string{
		noise.FormatKey(bob) + " the access of this client was revoked",
		noise.FormatKey(carol) + " the access of this client has expired",
		noise.FormatKey(dora) + " the address of this client has changed",
	}, o.cutOff(3))
	_, ok := o.Lookup(bob)
	require.False(t, ok)
	_, ok = o.Lookup(carol)
	require.True(t, ok, "so that she can be told that she has expired")

	// A line that the pool refuses: what was fixed before stays.
	o.write(line("alice", alice), line("dora", dora, "addr=192.0.2.1"))
	o.Reload()
	o.Left([]hub.Gone{{Key: dora, Name: "dora"}})
	require.Eventually(t, func() bool {
		got, err := o.Lease(dora, time.Now())
		return err == nil && got[0].Addr() == netip.MustParseAddr("10.8.0.5")
	}, 20*time.Second, 5*time.Millisecond)
}

// An open session ends with the password that it began with. A client that needs
// none any more, or has another name, stays.
func TestPasswordChanges(t *testing.T) {
	var hashes []string
	for _, password := range []string{"one", "two"} {
		h, err := identity.HashPassword(password)
		require.NoError(t, err)
		hashes = append(hashes, "password="+h.String())
	}
	alice, bob, carol, dora := key(), key(), key(), key()
	o := newOffice(t, "10.8.0.1/24", 0,
		line("alice", alice, hashes[0]), line("bob", bob), line("carol", carol, hashes[0]), line("dora", dora, hashes[0]))
	o.run()
	o.write(line("alice", alice, hashes[1]), line("bob", bob, hashes[0]), line("carol", carol), line("doris", dora, hashes[0]))
	changed := func(k noise.PublicKey) string {
		return noise.FormatKey(k) + " the password of this client has changed"
	}
	require.ElementsMatch(t, []string{changed(alice), changed(bob)}, o.cutOff(2))
}

func TestLogin(t *testing.T) {
	alice, bob := key(), key()
	hash, err := identity.HashPassword("secret")
	require.NoError(t, err)
	o := newOffice(t, "10.8.0.1/24", 0, line("alice", alice, "password="+hash.String()), line("bob", bob))
	require.NoError(t, o.Login(t.Context(), alice, hub.Source{}, "alice", "secret"))
	wrong := &secure.Rejected{Reason: "wrong user name or password", Final: true}
	require.Equal(t, wrong, o.Login(t.Context(), bob, hub.Source{}, "alice", "secret"), "the password of another")
	require.Equal(t, wrong, o.Login(t.Context(), alice, hub.Source{}, "alice", "Secret"))
	// The wait doubles each time, so that even a slow machine comes to see one.
	var later *secure.Rejected
	for range 5 {
		require.ErrorAs(t, o.Login(t.Context(), alice, hub.Source{}, "alice", "Secret"), &later)
		if !later.Final {
			break
		}
	}
	require.Regexp(t, "^too many wrong passwords: try again in [0-9]+s$", later.Reason)
	require.False(t, later.Final, "it can try again")
}

// If Open fails, it leaves nothing open.
func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	registry := filepath.Join(dir, "clients")
	cfg := Config{Registry: registry, Pool: pool.Config{Addrs: []netip.Prefix{netip.MustParsePrefix("10.8.0.1/24")}, State: filepath.Join(dir, "leases")}}
	_, err := Open(cfg)
	require.EqualError(t, err, "there is no registry "+registry)
	k := key()
	require.NoError(t, os.WriteFile(registry, []byte(line("alice", k, "addr=10.9.0.7")+"\n"), 0o600))
	for range 2 { // the second finds no lock
		_, err = Open(cfg)
		require.ErrorContains(t, err, "10.9.0.7")
	}
	require.NoError(t, os.WriteFile(registry, []byte(line("alice", k)+"\n"), 0o600))
	d, err := Open(cfg)
	require.NoError(t, err)
	require.NoError(t, d.Close())
}
