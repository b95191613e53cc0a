package main

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/noise"
)

// The client tries a server's newest key first, and then each of the others in turn,
// independently of other servers.
func TestServerKeysTakeTurns(t *testing.T) {
	a, b := netip.MustParseAddrPort("203.0.113.10:5555"), netip.MustParseAddrPort("203.0.113.11:5555")
	own, next, before := noise.PublicKey{1}, noise.PublicKey{3}, noise.PublicKey{2}
	k := serverKeys{own: own, learned: []noise.PublicKey{next, before}}
	for range 2 {
		for _, want := range []noise.PublicKey{next, before, own} {
			require.Equal(t, want, k.of(a))
			require.Equal(t, next, k.of(b))
			k.failed(a)
		}
	}
	k.failed(a)
	_, leave, err := k.reached(a, before, noise.PublicKey{}, time.Now())
	require.NoError(t, err)
	require.False(t, leave)
	require.Equal(t, next, k.of(a))

	k = serverKeys{own: own}
	for range 3 {
		require.Equal(t, own, k.of(a))
		k.failed(a)
	}
}

// A resolver that returns another address each time can't fill the memory.
func TestServerKeysAreBounded(t *testing.T) {
	k := serverKeys{own: noise.PublicKey{1}}
	for i := range 10 * maxTried {
		k.failed(netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), 5555))
		require.LessOrEqual(t, len(k.tries), maxTried)
	}
}

// The client ends a session by an older key for the next known one, but not again and again.
func TestServerKeysLeave(t *testing.T) {
	a := netip.MustParseAddrPort("203.0.113.10:5555")
	own, next := noise.PublicKey{1}, noise.PublicKey{3}
	now := time.Unix(1, 0)
	k := serverKeys{own: own}
	leave := func(by, told noise.PublicKey, after time.Duration) bool {
		now = now.Add(after)
		_, leave, _ := k.reached(a, by, told, now)
		return leave
	}
	require.False(t, leave(own, next, 0), "that is news: the keeper has the settings read again")
	k.learned = []noise.PublicKey{next}
	require.False(t, leave(own, noise.PublicKey{}, 0))
	require.False(t, leave(own, noise.PublicKey{4}, 0))
	require.False(t, leave(next, next, 0), "that makes no sense")
	require.True(t, leave(own, next, 0))
	require.False(t, leave(own, next, leaveEvery-1))
	require.True(t, leave(own, next, 1))
}
