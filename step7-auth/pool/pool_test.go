package pool

import (
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/noise"
)

var epoch = time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)

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

// The families come in the order of the Config, and one alone will do.
func TestFamilies(t *testing.T) {
	p := opened(t, Config{Addrs: prefixes("fd00:8::1/64", "10.8.0.1/24")})
	require.Equal(t, prefixes("fd00:8::2/64", "10.8.0.2/24"), mustLease(t, p, 0, epoch))
	p = opened(t, Config{Addrs: prefixes("fd00:8::1/64")})
	require.Equal(t, prefixes("fd00:8::2/64"), mustLease(t, p, 0, epoch))
}

func TestWhatSubnetsLease(t *testing.T) {
	for server, want := range map[string][]string{
		"10.8.0.1/30":        {"10.8.0.2/30"},
		"10.8.0.2/30":        {"10.8.0.1/30"},
		"10.8.0.0/31":        {"10.8.0.1/31"},
		"10.8.0.1/31":        {"10.8.0.0/31"},
		"10.8.0.3/29":        {"10.8.0.1/29", "10.8.0.2/29", "10.8.0.4/29", "10.8.0.5/29", "10.8.0.6/29"},
		"fd00:8::0/127":      {"fd00:8::1/127"},
		"fd00:8::1/127":      {"fd00:8::/127"},
		"fd00:8::2/126":      {"fd00:8::1/126", "fd00:8::3/126"},
		"223.255.255.254/30": {"223.255.255.253/30"},
		"fdff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/126": {
			"fdff:ffff:ffff:ffff:ffff:ffff:ffff:fffd/126", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/126"},
	} {
		p := opened(t, Config{Addrs: prefixes(server)})
		for n, addr := range want {
			require.Equal(t, prefixes(addr), mustLease(t, p, n, epoch), server)
		}
		_, err := p.Lease(key(len(want)), epoch)
		require.ErrorIs(t, err, ErrFull, server)
	}
}

func TestWrongConfigs(t *testing.T) {
	for want, cfg := range map[string]Config{
		"the server has no address in the tunnel, such as 10.8.0.1/24":    {},
		"a grace time of -1s is negative":                                 {Addrs: prefixes("10.8.0.1/24"), Grace: -time.Second},
		"invalid Prefix is no address with a subnet, such as 10.8.0.1/24": {Addrs: []netip.Prefix{{}}},
		"::ffff:10.8.0.1/120 is no address with a subnet, such as 10.8.0.1/24": {Addrs: []netip.Prefix{
			netip.PrefixFrom(netip.MustParseAddr("::ffff:10.8.0.1"), 120)}},
		"10.8.0.1/24 and 10.9.0.1/24 are of the same family: the server has at most one IPv4 and one IPv6 address in the tunnel": {
			Addrs: prefixes("10.8.0.1/24", "fd00:8::1/64", "10.9.0.1/24")},
		"10.8.0.1/32 has no address for a client":                              {Addrs: prefixes("10.8.0.1/32")},
		"fd00:8::1/128 has no address for a client":                            {Addrs: prefixes("fd00:8::1/128")},
		"10.8.0.0/24 is not the address of a host: it stands for the subnet":   {Addrs: prefixes("10.8.0.0/24")},
		"10.8.0.255/24 is not the address of a host: it stands for the subnet": {Addrs: prefixes("10.8.0.255/24")},
		"fd00:8::/64 is not the address of a host: it stands for the subnet":   {Addrs: prefixes("fd00:8::/64")},
		"0.0.0.0/0 is no subnet for hosts":                                     {Addrs: prefixes("0.0.0.0/0")},
		"10.8.0.1/0 is no subnet for hosts":                                    {Addrs: prefixes("10.8.0.1/0")},
		"127.0.0.1/8 is no subnet for hosts":                                   {Addrs: prefixes("127.0.0.1/8")},
		"224.0.0.1/24 is no subnet for hosts":                                  {Addrs: prefixes("224.0.0.1/24")},
		"fe80::1/64 is no subnet for hosts":                                    {Addrs: prefixes("fe80::1/64")},
		"::1/0 is no subnet for hosts":                                         {Addrs: prefixes("::1/0")},
	} {
		name := t.TempDir() + "/leases"
		cfg.State = name
		_, err := Open(cfg)
		require.EqualError(t, err, want)
		require.NoFileExists(t, name)
	}
}

func TestFull(t *testing.T) {
	p := opened(t, Config{Addrs: prefixes("10.8.0.1/29", "fd00:8::1/64"), Grace: time.Minute})
	for n := range 5 {
		mustLease(t, p, n, epoch)
	}
	_, err := p.Lease(key(5), epoch)
	require.ErrorIs(t, err, ErrFull)
	require.EqualError(t, err, "the server has no free address, try again later: of 10.8.0.0/29, 5 addresses are in use, 0 were released less than 1m0s ago, and 0 are fixed")

	// Two leave. Within the grace time nobody gets their addresses but they.
	p.Release(key(3), epoch.Add(1*time.Second))
	p.Release(key(1), epoch.Add(2*time.Second))
	_, err = p.Lease(key(5), epoch.Add(61*time.Second-1))
	require.EqualError(t, err, "the server has no free address, try again later: of 10.8.0.0/29, 3 addresses are in use, 2 were released less than 1m0s ago, and 0 are fixed")
	// The refusal took no IPv6 address either.
	require.Equal(t, "fd00:8::3/64", mustLease(t, p, 1, epoch.Add(61*time.Second-1))[1].String())
	p.Release(key(1), epoch.Add(61*time.Second))

	// After that, who left first loses first.
	require.Equal(t, "10.8.0.5/29", mustLease(t, p, 5, epoch.Add(61*time.Second))[0].String())
	_, err = p.Lease(key(3), epoch.Add(121*time.Second-1))
	require.ErrorIs(t, err, ErrFull)
	require.Equal(t, "10.8.0.3/29", mustLease(t, p, 3, epoch.Add(121*time.Second))[0].String())
}

// Two families may fill up at different times. Nobody loses or gets half of it.
func TestAllOrNothing(t *testing.T) {
	p := opened(t, Config{Addrs: prefixes("10.8.0.1/24", "fd00:8::1/126")})
	mustLease(t, p, 0, epoch)
	mustLease(t, p, 1, epoch)
	for n := 2; n < 1000; n++ {
		_, err := p.Lease(key(n), epoch)
		require.ErrorIs(t, err, ErrFull)
	}
	p.Release(key(0), epoch)
	require.Equal(t, prefixes("10.8.0.4/24", "fd00:8::2/126"), mustLease(t, p, 5000, epoch))
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
		require.ErrorIs(t, err, ErrFull, "not even who had it")
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

func TestClosed(t *testing.T) {
	p := opened(t, Config{Addrs: prefixes("10.8.0.1/24")})
	mustLease(t, p, 0, epoch)
	require.NoError(t, p.Close())
	require.NoError(t, p.Close())
	_, err := p.Lease(key(1), epoch)
	require.ErrorIs(t, err, os.ErrClosed)
	p.Release(key(0), epoch)
	p.Forget(key(0), epoch)
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

func TestConcurrentUse(t *testing.T) {
	p := opened(t, Config{Addrs: prefixes("10.8.0.1/24", "fd00:8::1/64"), State: t.TempDir() + "/leases"})
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for range 200 {
				got, err := p.Lease(key(n), time.Now())
				if err != nil || len(got) != 2 {
					t.Errorf("%v, %v", got, err)
				}
				p.Release(key(n), time.Now())
				if n%2 == 0 {
					p.Forget(key(n), time.Now())
				}
				if _, err := p.SetFixed(nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
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
