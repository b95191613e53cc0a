package pool

import (
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The families come in the order of the Config, and one alone will do.
func TestFamilies(t *testing.T) {
	p := opened(t, Config{Addrs: prefixes("fd00:8::1/64", "10.8.0.1/24")})
	require.Equal(t, prefixes("fd00:8::2/64", "10.8.0.2/24"), mustLease(t, p, 0, epoch))
	p = opened(t, Config{Addrs: prefixes("fd00:8::1/64")})
	require.Equal(t, prefixes("fd00:8::2/64"), mustLease(t, p, 0, epoch))
}

func TestWrongConfigs(t *testing.T) {
	for want, cfg := range map[string]Config{
		"the server has no address in the tunnel, such as 10.8.0.1/24":        {},
		"a grace time of -1s is negative":                                     {Addrs: prefixes("10.8.0.1/24"), Grace: -time.Second},
		"invalid Prefix is not an address with a subnet, such as 10.8.0.1/24": {Addrs: []netip.Prefix{{}}},
		"::ffff:10.8.0.1/120 is not an address with a subnet, such as 10.8.0.1/24": {Addrs: []netip.Prefix{
			netip.PrefixFrom(netip.MustParseAddr("::ffff:10.8.0.1"), 120)}},
		"10.8.0.1/24 and 10.9.0.1/24 are of the same family: the server has at most one IPv4 and one IPv6 address in the tunnel": {
			Addrs: prefixes("10.8.0.1/24", "fd00:8::1/64", "10.9.0.1/24")},
		"10.8.0.1/32 has no address for a client":                              {Addrs: prefixes("10.8.0.1/32")},
		"fd00:8::1/128 has no address for a client":                            {Addrs: prefixes("fd00:8::1/128")},
		"10.8.0.0/24 is not the address of a host: it stands for the subnet":   {Addrs: prefixes("10.8.0.0/24")},
		"10.8.0.255/24 is not the address of a host: it stands for the subnet": {Addrs: prefixes("10.8.0.255/24")},
		"fd00:8::/64 is not the address of a host: it stands for the subnet":   {Addrs: prefixes("fd00:8::/64")},
		"0.0.0.0/0 is not a subnet for hosts":                                  {Addrs: prefixes("0.0.0.0/0")},
		"10.8.0.1/0 is not a subnet for hosts":                                 {Addrs: prefixes("10.8.0.1/0")},
		"127.0.0.1/8 is not a subnet for hosts":                                {Addrs: prefixes("127.0.0.1/8")},
		"224.0.0.1/24 is not a subnet for hosts":                               {Addrs: prefixes("224.0.0.1/24")},
		"fe80::1/64 is not a subnet for hosts":                                 {Addrs: prefixes("fe80::1/64")},
		"::1/0 is not a subnet for hosts":                                      {Addrs: prefixes("::1/0")},
	} {
		name := t.TempDir() + "/leases"
		cfg.State = name
		_, err := Open(cfg)
		require.EqualError(t, err, want)
		require.NoFileExists(t, name)
	}
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
