package pool

import (
	"encoding/binary"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"stepvpn/step4-crypto/noise"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m)
}

var epoch = time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)

// key returns the public key of client n, from 0.
func key(n int) (id noise.PublicKey) {
	binary.BigEndian.PutUint64(id[:], uint64(n+1))
	return id
}

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, s := range texts {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}

func addrs(texts ...string) (list []netip.Addr) {
	for _, s := range texts {
		list = append(list, netip.MustParseAddr(s))
	}
	return list
}

// opened returns a pool that is closed when the test ends.
func opened(t testing.TB, cfg Config) *Pool {
	t.Helper()
	p, err := Open(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// mustLease returns the addresses of client n, which must get some.
func mustLease(t testing.TB, p *Pool, n int, now time.Time) []netip.Prefix {
	t.Helper()
	got, err := p.Lease(key(n), now)
	require.NoError(t, err)
	return got
}
