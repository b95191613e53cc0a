package hub

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step7-auth/join"
)

// twoKeys gives the server a second key.
func twoKeys(next noise.PrivateKey) func(*Config) {
	return func(c *Config) {
		own := cookie.NewServer(serverKey.Public(), &c.Count.Drops)
		other := own.WithKey(next.Public())
		c.Check = own.Check
		c.Entrances = []Entrance{{
			Name: "next", Handshake: noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.IK, Static: &next},
			Settings: []byte("other settings"), Check: other.Check, Meant: other.Meant,
		}}
	}
}

// tryBy has a client come by a key of the server.
func (w *world) tryBy(server noise.PublicKey, cfg join.Config) (*join.Session, error) {
	cfg.Handshake.PeerStatic = &server
	s, err := join.Client(w.t.Context(), cookie.Client(w.endpoint(), server, cfg.Drops), cfg)
	if err == nil {
		w.t.Cleanup(func() { s.Close() })
	}
	return s, err
}

// By either key of a server a client is in, gets what is for those of that key, and is known
// to have come by it, in one session after another; by a third one it is not.
func TestTwoKeys(t *testing.T) {
	next := noise.GenerateKey()
	w := serve(t, twoKeys(next))
	cfg := clientConfig(w.add(Account{Name: "alice"}))
	cfg.Instance = [8]byte{1} // it is the same program
	for _, by := range []noise.PrivateKey{serverKey, next, next, serverKey} {
		s, err := w.tryBy(by.Public(), cfg)
		require.NoError(t, err)
		want := "settings"
		if by == next {
			want = "other settings"
		}
		require.Equal(t, want, string(s.Settings))
		write(t, s, ip(s.Addrs[0].Addr(), web, "x"))
		w.read()
		there := w.hub.Snapshot()
		require.Len(t, there, 1)
		require.Equal(t, by == next, there[0].By == "next")
		if by == next {
			continue // as if it had lost its network
		}
		require.NoError(t, s.Close())
		require.Eventually(t, func() bool { return len(w.hub.Snapshot()) == 0 }, 20*time.Second, time.Millisecond)
	}

	cfg.Tries = 1
	_, err := w.tryBy(noise.GenerateKey().Public(), cfg)
	require.ErrorContains(t, err, "no answer from the server")
	require.NotZero(t, w.count.Drops.Count(cookie.BadMAC))
}

// When a client has left, it is known which of the server's keys it used.
func TestLeftByKey(t *testing.T) {
	next := noise.GenerateKey()
	w := serve(t, twoKeys(next))
	for _, by := range []noise.PrivateKey{serverKey, next} {
		s, err := w.tryBy(by.Public(), clientConfig(w.add(Account{Name: "alice"})))
		require.NoError(t, err)
		write(t, s, ip(s.Addrs[0].Addr(), web, "x"))
		w.read()
		n := len(w.gotten())
		require.NoError(t, s.Close())
		require.Eventually(t, func() bool { return len(w.gotten()) > n }, 20*time.Second, time.Millisecond)
		require.Equal(t, by == next, w.gotten()[n].By == "next")
	}
}

// An initiation that is not for the next key is judged by the first one's Check alone, and
// none is decrypted with both.
func TestTwoKeysEachIsTriedOnce(t *testing.T) {
	next := noise.GenerateKey()
	var meant, first, second int
	h, err := New(func() Config {
		c := config(newRegistry())
		twoKeys(next)(&c)
		c.Entrances[0].Meant = func(m []byte) bool { meant++; return m[0] == 2 }
		count := func(n *int) func([]byte, netip.AddrPort, bool, bool, time.Time) ([]byte, []byte) {
			return func([]byte, netip.AddrPort, bool, bool, time.Time) ([]byte, []byte) { *n++; return nil, nil }
		}
		c.Check, c.Entrances[0].Check = count(&first), count(&second)
		return c
	}())
	require.NoError(t, err)
	for _, m := range []byte{1, 2, 1} {
		h.queueHandshake(&queue{}, []byte{m}, netip.AddrPort{}, time.Now())
	}
	require.Equal(t, []int{3, 2, 1}, []int{meant, first, second})
}
