package pool

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/noise"
)

func TestLease(t *testing.T) {
	p := opened(t, Config{Addrs: prefixes("10.8.0.1/24", "fd00:8::1/64"), Grace: time.Minute})
	require.Equal(t, prefixes("10.8.0.2/24", "fd00:8::2/64"), mustLease(t, p, 0, epoch))
	require.Equal(t, prefixes("10.8.0.3/24", "fd00:8::3/64"), mustLease(t, p, 1, epoch))
	require.Equal(t, prefixes("10.8.0.2/24", "fd00:8::2/64"), mustLease(t, p, 0, epoch), "the same client again")
	p.Release(key(0), epoch)
	require.Equal(t, prefixes("10.8.0.4/24", "fd00:8::4/64"), mustLease(t, p, 2, epoch.Add(time.Hour)), "fresh ones go first")
	require.Equal(t, prefixes("10.8.0.2/24", "fd00:8::2/64"), mustLease(t, p, 0, epoch.Add(2*time.Hour)))

	_, err := p.Lease(noise.PublicKey{}, epoch)
	require.EqualError(t, err, "a client without a key can't have a lease")
}

func TestFull(t *testing.T) {
	p := opened(t, Config{Addrs: prefixes("10.8.0.1/29", "fd00:8::1/64"), Grace: time.Minute})
	for n := range 5 {
		mustLease(t, p, n, epoch)
	}
	_, err := p.Lease(key(5), epoch)
	require.ErrorIs(t, err, ErrFull)
	require.EqualError(t, err, "the server has no free address, try again later: of 10.8.0.0/29, 5 addresses are in use, 0 were released less than 1m0s ago, and 0 are fixed")

	// Two clients leave. Within the grace time only they get their addresses.
	p.Release(key(3), epoch.Add(1*time.Second))
	p.Release(key(1), epoch.Add(2*time.Second))
	_, err = p.Lease(key(5), epoch.Add(61*time.Second-1))
	require.EqualError(t, err, "the server has no free address, try again later: of 10.8.0.0/29, 3 addresses are in use, 2 were released less than 1m0s ago, and 0 are fixed")
	// The refusal took no IPv6 address either.
	require.Equal(t, "fd00:8::3/64", mustLease(t, p, 1, epoch.Add(61*time.Second-1))[1].String())
	p.Release(key(1), epoch.Add(61*time.Second))

	// After that, the client that left first loses its address first.
	require.Equal(t, "10.8.0.5/29", mustLease(t, p, 5, epoch.Add(61*time.Second))[0].String())
	_, err = p.Lease(key(3), epoch.Add(121*time.Second-1))
	require.ErrorIs(t, err, ErrFull)
	require.Equal(t, "10.8.0.3/29", mustLease(t, p, 3, epoch.Add(121*time.Second))[0].String())
}

// A client that is back in time has its address again, and nobody else gets it.
func TestComeBack(t *testing.T) {
	p := opened(t, Config{Addrs: prefixes("10.8.0.1/30"), Grace: time.Minute})
	for range 3 {
		require.Equal(t, prefixes("10.8.0.2/30"), mustLease(t, p, 0, epoch))
		_, err := p.Lease(key(1), epoch.Add(time.Hour))
		require.ErrorIs(t, err, ErrFull, "it is in use")
		p.Release(key(0), epoch)
		_, err = p.Lease(key(1), epoch.Add(time.Minute-1))
		require.ErrorIs(t, err, ErrFull, "it was released a moment ago")
	}
	require.Equal(t, prefixes("10.8.0.2/30"), mustLease(t, p, 1, epoch.Add(time.Minute)), "the grace time has passed")
	_, err := p.Lease(key(0), epoch.Add(time.Hour))
	require.ErrorIs(t, err, ErrFull, "another has it now")
}

func TestForget(t *testing.T) {
	p := opened(t, Config{Addrs: prefixes("10.8.0.1/29"), Grace: time.Minute})
	for n := range 5 {
		mustLease(t, p, n, epoch)
	}
	p.Forget(key(9), epoch)
	p.Forget(key(2), epoch) // in use
	p.Release(key(3), epoch)
	p.Forget(key(3), epoch.Add(50*time.Second)) // released before
	for _, n := range []int{2, 3, 6} {
		_, err := p.Lease(key(n), epoch.Add(time.Minute-1))
		require.ErrorIs(t, err, ErrFull, "not even the client that had it")
	}
	mustLease(t, p, 6, epoch.Add(time.Minute))
	mustLease(t, p, 7, epoch.Add(time.Minute))
}

func TestReleaseOfNothing(t *testing.T) {
	p := opened(t, Config{Addrs: prefixes("10.8.0.1/30"), Grace: time.Minute})
	p.Release(key(0), epoch)
	mustLease(t, p, 0, epoch)
	p.Release(key(0), epoch)
	p.Release(key(0), epoch.Add(time.Minute)) // does not begin the grace time anew
	mustLease(t, p, 1, epoch.Add(time.Minute))
	p.Release(key(0), epoch) // another has it now
	_, err := p.Lease(key(2), epoch.Add(time.Hour))
	require.ErrorIs(t, err, ErrFull)
}

// A large subnet is not counted through, and what is remembered is bounded.
func TestManyClients(t *testing.T) {
	p := opened(t, Config{Addrs: prefixes("fd00:8::1/64"), Grace: time.Minute})
	p.families[0].most = 100
	for n := range 100 {
		mustLease(t, p, n, epoch)
	}
	_, err := p.Lease(key(100), epoch)
	require.ErrorIs(t, err, ErrFull)
	for n := range 100 {
		p.Release(key(n), epoch.Add(time.Duration(n)))
	}
	_, err = p.SetFixed(map[noise.PublicKey][]netip.Addr{key(101): addrs("fd00:8::ffff")})
	require.NoError(t, err)
	_, err = p.Lease(key(101), epoch)
	require.ErrorIs(t, err, ErrFull)
	require.Equal(t, "fd00:8::2/64", mustLease(t, p, 100, epoch.Add(time.Minute))[0].String())
	require.Equal(t, "fd00:8::ffff/64", mustLease(t, p, 101, epoch.Add(time.Hour))[0].String())
	require.Len(t, p.families[0].byAddr, 100)
	require.Len(t, p.families[0].byOwner, 100)
}

// 65,533 clients: each lease and release costs about the same.
func BenchmarkLease(b *testing.B) {
	p := opened(b, Config{Addrs: prefixes("10.8.0.1/16", "fd00:8::1/64")})
	const clients = 65533
	for n := range clients {
		mustLease(b, p, n, epoch)
		p.Release(key(n), epoch.Add(time.Duration(n)))
	}
	b.Run("sticky", func(b *testing.B) {
		b.ReportAllocs()
		for n := range b.N {
			id := key(n % clients)
			if _, err := p.Lease(id, epoch); err != nil {
				b.Fatal(err)
			}
			p.Release(id, epoch.Add(time.Duration(clients+n)))
		}
	})
	b.Run("reuse", func(b *testing.B) {
		b.ReportAllocs()
		for n := range b.N {
			id := key(clients + n)
			if _, err := p.Lease(id, epoch.Add(time.Hour)); err != nil {
				b.Fatal(err)
			}
			p.Release(id, epoch.Add(time.Hour+time.Duration(n)))
		}
	})
}
