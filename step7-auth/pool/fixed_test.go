package pool

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/noise"
)

type fixes = map[noise.PublicKey][]netip.Addr

func mustFix(t *testing.T, p *Pool, fixed fixes) []noise.PublicKey {
	t.Helper()
	moved, err := p.SetFixed(fixed)
	require.NoError(t, err)
	return moved
}

func TestFixed(t *testing.T) {
	p := opened(t, Config{Addrs: prefixes("10.8.0.1/29", "fd00:8::1/64"), Grace: time.Minute})
	require.Empty(t, mustFix(t, p, fixes{
		key(0): addrs("10.8.0.2"),
		key(1): addrs("fd00:8::beef", "10.8.0.4"),
	}))
	require.Equal(t, prefixes("10.8.0.3/29", "fd00:8::2/64"), mustLease(t, p, 7, epoch), "never a fixed one")
	require.Equal(t, prefixes("10.8.0.2/29", "fd00:8::3/64"), mustLease(t, p, 0, epoch), "the other family is leased")
	require.Equal(t, prefixes("10.8.0.4/29", "fd00:8::beef/64"), mustLease(t, p, 1, epoch))
	p.Release(key(0), epoch)
	p.Release(key(1), epoch)
	mustLease(t, p, 8, epoch)
	mustLease(t, p, 9, epoch)
	_, err := p.Lease(key(10), epoch.Add(24*time.Hour))
	require.EqualError(t, err, "the server has no free address, try again later: of 10.8.0.0/29, 3 addresses are in use, 0 were released less than 1m0s ago, and 2 are fixed")
	require.Equal(t, "10.8.0.2/29", mustLease(t, p, 0, epoch.Add(24*time.Hour))[0].String())

	// An address that is not fixed any more is like any other. Its owner keeps it for now.
	require.Empty(t, mustFix(t, p, nil))
	require.Equal(t, "10.8.0.2/29", mustLease(t, p, 0, epoch.Add(24*time.Hour))[0].String())
	require.Equal(t, "10.8.0.4/29", mustLease(t, p, 10, epoch.Add(24*time.Hour))[0].String())
}

// An operator gives a client the address that another client has.
func TestFixedAddressOfAnother(t *testing.T) {
	p := opened(t, Config{Addrs: prefixes("10.8.0.1/24"), Grace: time.Minute})
	mustLease(t, p, 0, epoch) // .2
	mustLease(t, p, 1, epoch) // .3
	p.Release(key(1), epoch)
	require.Equal(t, []noise.PublicKey{key(0)}, mustFix(t, p, fixes{
		key(5): addrs("10.8.0.2"),
		key(6): addrs("10.8.0.3"),
	}))
	// The address of a client that is not there is given away at once.
	require.Equal(t, prefixes("10.8.0.3/24"), mustLease(t, p, 6, epoch))
	// The other one is in use until the server has disconnected its client.
	_, err := p.Lease(key(5), epoch)
	require.ErrorIs(t, err, ErrInUse)
	require.EqualError(t, err, "your fixed address is still in use by another client, try again later: 10.8.0.2")
	p.Release(key(0), epoch)
	require.Equal(t, prefixes("10.8.0.2/24"), mustLease(t, p, 5, epoch))
	require.Equal(t, prefixes("10.8.0.4/24"), mustLease(t, p, 0, epoch))
	require.Equal(t, prefixes("10.8.0.5/24"), mustLease(t, p, 1, epoch))
}

// A client that comes again before its old connection has ended moves as well.
func TestMovedWithoutRelease(t *testing.T) {
	p := opened(t, Config{Addrs: prefixes("10.8.0.1/24", "fd00:8::1/64"), Grace: time.Minute})
	mustLease(t, p, 0, epoch)
	require.Equal(t, []noise.PublicKey{key(0)}, mustFix(t, p, fixes{key(0): addrs("10.8.0.77", "fd00:8::77")}), "once, not once a family")
	require.Equal(t, prefixes("10.8.0.77/24", "fd00:8::77/64"), mustLease(t, p, 0, epoch))
	require.Empty(t, mustFix(t, p, fixes{key(0): addrs("10.8.0.77", "fd00:8::77")}))
	require.Equal(t, 1, p.families[0].inUse)
	require.Len(t, p.families[0].released, 1, "the address that it had")
}

func TestWrongFixedAddresses(t *testing.T) {
	p := opened(t, Config{Addrs: prefixes("10.8.0.1/24", "fd00:8::1/64")})
	right := fixes{key(0): addrs("10.8.0.9")}
	mustFix(t, p, right)
	const a, b = "AAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "AAAAAAAAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	for want, fixed := range map[string]fixes{
		"client " + a + ": the fixed address 10.9.0.2 is in no subnet of the tunnel":                         {key(0): addrs("10.9.0.2")},
		"client " + a + ": the fixed address ::ffff:10.8.0.2 is in no subnet of the tunnel":                  {key(0): addrs("::ffff:10.8.0.2")},
		"client " + a + ": the fixed address invalid IP is in no subnet of the tunnel":                       {key(0): {{}}},
		"client " + a + ": the fixed address 10.8.0.1 can't be a client's: it is the server's own":           {key(0): addrs("10.8.0.1")},
		"client " + a + ": the fixed address 10.8.0.0 can't be a client's: it stands for the whole subnet":   {key(0): addrs("10.8.0.0")},
		"client " + a + ": the fixed address 10.8.0.255 can't be a client's: it stands for the whole subnet": {key(0): addrs("10.8.0.255")},
		"client " + a + ": the fixed address fd00:8:: can't be a client's: it stands for the whole subnet":   {key(0): addrs("fd00:8::")},
		"client " + a + ": there is more than one fixed address in 10.8.0.0/24":                              {key(0): addrs("10.8.0.2", "10.8.0.3")},
		"client " + b + ": client " + a + " has the same fixed address 10.8.0.2":                             {key(0): addrs("10.8.0.2"), key(1): addrs("10.8.0.2")},
		"a client without a key can't have a fixed address":                                                  {nobody: addrs("10.8.0.2")},
	} {
		_, err := p.SetFixed(fixed)
		require.EqualError(t, err, want)
	}
	require.Equal(t, "10.8.0.9/24", mustLease(t, p, 0, epoch)[0].String(), "nothing has changed")
}

// Next names the addresses that a new client then gets, and leaves everything as it is.
func TestNext(t *testing.T) {
	state := filepath.Join(t.TempDir(), "pool", "leases")
	cfg := Config{Addrs: prefixes("10.8.0.1/29", "fd00:8::1/64"), State: state, Grace: time.Minute}
	next := func(fixed map[noise.PublicKey][]netip.Addr) []netip.Addr {
		t.Helper()
		before, _ := os.ReadFile(state)
		got, err := Next(cfg, fixed)
		require.NoError(t, err)
		after, _ := os.ReadFile(state)
		require.Equal(t, string(before), string(after))
		return got
	}
	require.Equal(t, addrs("10.8.0.2", "fd00:8::2"), next(nil), "there is no file yet")
	require.NoFileExists(t, state)

	p, err := Open(cfg)
	require.NoError(t, err)
	mustLease(t, p, 0, time.Now())
	mustLease(t, p, 1, time.Now())
	p.Release(key(1), time.Now())
	require.NoError(t, p.Close())
	p = opened(t, cfg)
	require.Equal(t, addrs("10.8.0.4", "fd00:8::4"), next(nil), "leases of those who have left are kept for them")
	fixed := map[noise.PublicKey][]netip.Addr{key(7): addrs("10.8.0.4"), key(8): addrs("fd00:8::4", "10.8.0.5")}
	want := addrs("10.8.0.6", "fd00:8::5")
	require.Equal(t, want, next(fixed))
	_, err = p.SetFixed(fixed)
	require.NoError(t, err)
	got := mustLease(t, p, 2, time.Now())
	require.Equal(t, want, []netip.Addr{got[0].Addr(), got[1].Addr()})

	fixed[key(9)] = addrs("10.8.0.6")
	_, err = Next(cfg, fixed)
	require.ErrorIs(t, err, ErrFull, "those that were released are in their grace time")
	fixed[key(10)] = addrs("10.8.0.6")
	_, err = Next(cfg, fixed)
	require.ErrorContains(t, err, "has the same fixed address")

	broken := Config{Addrs: cfg.Addrs, State: filepath.Join(t.TempDir(), "x")}
	require.NoError(t, os.WriteFile(broken.State, []byte("x\n"), 0o600))
	_, err = Next(broken, nil)
	require.EqualError(t, err, `the file of leases: line 1 is not "stepvpn leases 1 running" or "stepvpn leases 1 closed"`)
}
