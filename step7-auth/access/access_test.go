package access

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"stepvpn/step4-crypto/keyfile"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/hub"
	"stepvpn/step7-auth/identity"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m)
}

var (
	alice = noise.GenerateKey().Public()
	bob   = noise.GenerateKey().Public()
)

// files makes the files of a server whose registry has some lines.
func files(t *testing.T, lines ...string) Config {
	dir := t.TempDir()
	cfg := Config{
		Key: filepath.Join(dir, "server.key"), Registry: filepath.Join(dir, "clients"), Leases: filepath.Join(dir, "leases"),
		Addrs: []netip.Prefix{netip.MustParsePrefix("10.8.0.1/30")},
	}
	require.NoError(t, keyfile.Create(cfg.Key))
	register(t, cfg, lines...)
	return cfg
}

func register(t *testing.T, cfg Config, lines ...string) {
	require.NoError(t, os.WriteFile(cfg.Registry, []byte(strings.Join(lines, "\n")), 0o600))
}

func line(name string, key noise.PublicKey, options ...string) string {
	return strings.Join(append([]string{name, identity.FormatKey(key)}, options...), " ")
}

func open(t *testing.T, cfg Config) *Access {
	a, err := Open(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { a.Close() })
	return a
}

func TestAccess(t *testing.T) {
	hash, err := identity.HashPassword("secret")
	require.NoError(t, err)
	a := open(t, files(t, line("alice", alice, "password="+hash.String()), line("bob", bob, "expires=2030-01-01")))
	account, ok := a.Lookup(alice)
	require.True(t, ok)
	require.Equal(t, hub.Account{Name: "alice", NeedsPassword: true}, account)
	account, ok = a.Lookup(bob)
	require.True(t, ok)
	require.Equal(t, 2030, account.Expires.UTC().Year())
	_, ok = a.Lookup(noise.GenerateKey().Public())
	require.False(t, ok)

	// Who is wrong need not ask again.
	require.NoError(t, a.Login(t.Context(), alice, "alice", "secret"))
	err = a.Login(t.Context(), alice, "alice", "guess")
	require.Equal(t, &secure.Rejected{Reason: "wrong user name or password", Final: true}, err)
	require.Error(t, a.Login(t.Context(), noise.GenerateKey().Public(), "alice", "secret"))

	// The network has one address.
	leased, err := a.Lease(alice, time.Now())
	require.NoError(t, err)
	require.Equal(t, "[10.8.0.2/30]", netipString(leased))
	_, err = a.Lease(bob, time.Now())
	require.Equal(t, &secure.Rejected{Reason: "the server has no free address, try again later"}, err)
	a.Left([]hub.Gone{{Key: alice, Name: "alice"}})
	again, err := a.Lease(alice, time.Now())
	require.NoError(t, err)
	require.Equal(t, leased, again)
}

func netipString(p []netip.Prefix) string {
	var texts []string
	for _, q := range p {
		texts = append(texts, q.String())
	}
	return "[" + strings.Join(texts, " ") + "]"
}

func TestOpenErrors(t *testing.T) {
	cfg := files(t, line("alice", alice, "addr=192.0.2.1"))
	_, err := Open(cfg)
	require.ErrorContains(t, err, "192.0.2.1")
	register(t, cfg, "alice")
	_, err = Open(cfg)
	require.Error(t, err)
	cfg.PSK = filepath.Join(t.TempDir(), "none")
	_, err = Open(cfg)
	require.ErrorContains(t, err, "none")
	// And nothing was left locked.
	cfg.PSK = cfg.Key
	register(t, cfg, line("alice", alice))
	a := open(t, cfg)
	require.NotNil(t, a.Handshake.PSK)
}

// As the registry changes, those it is about are cut off, each with its reason.
func TestFollow(t *testing.T) {
	carol, dave := noise.GenerateKey().Public(), noise.GenerateKey().Public()
	cfg := files(t, line("alice", alice), line("bob", bob), line("carol", carol), line("dave", dave))
	a := open(t, cfg)
	cuts := make(chan struct {
		key noise.PublicKey
		why secure.Rejected
	}, 10)
	stop := a.Follow(func(key noise.PublicKey, why secure.Rejected) {
		cuts <- struct {
			key noise.PublicKey
			why secure.Rejected
		}{key, why}
	})
	defer stop()
	_, err := a.Lease(alice, time.Now())
	require.NoError(t, err)

	// Bob is gone, carol's time is over, and dave gets the address that alice has.
	register(t, cfg, line("alice", alice), line("carol", carol, "expires=2020-01-01"), line("dave", dave, "addr=10.8.0.2"))
	got := make(map[noise.PublicKey][]secure.Rejected)
	for range 5 {
		select {
		case c := <-cuts:
			got[c.key] = append(got[c.key], c.why)
		case <-time.After(30 * time.Second):
			require.Fail(t, "somebody was not cut off", "%v", got)
		}
	}
	require.Equal(t, map[noise.PublicKey][]secure.Rejected{
		bob:   {{Reason: "the access of bob was revoked", Final: true}},
		carol: {{Reason: "the access of carol has expired", Final: true}, {Reason: "the server's entry for carol has changed"}},
		dave:  {{Reason: "the server's entry for dave has changed"}},
		alice: {{Reason: "this client's address was given to another one"}},
	}, got)
	_, ok := a.Lookup(bob)
	require.False(t, ok)
}
