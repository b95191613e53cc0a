package hub

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/secure"
)

// Events tells who comes, who leaves and why, and who is refused; in that order for each client.
func TestEvents(t *testing.T) {
	var mu sync.Mutex
	var got []Event
	w := serve(t, func(c *Config) {
		c.Events = func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, e)
		}
	})
	key := w.add(Account{Name: "bob"})
	bob := w.connect(key)
	write(t, bob, ip(bob.v4(), web, "x"))
	w.read()
	w.revoke(key.Public())
	w.hub.Cut(key.Public(), secure.Rejected{Reason: "revoked", Final: true})
	require.Error(t, bob.fails(t))
	_, err := w.try(clientConfig(key))
	require.Error(t, err)

	mu.Lock()
	defer mu.Unlock()
	require.Len(t, got, 3, "%v", got)
	for i, want := range []Event{
		{What: Connected, Name: "bob", Key: key.Public(), Addrs: got[0].Addrs},
		{What: Disconnected, Name: "bob", Key: key.Public(), Addrs: got[0].Addrs, Reason: "revoked"},
		{What: TurnedAway, Name: "an unknown key", Key: key.Public(), Reason: unknown.Reason},
	} {
		require.True(t, got[i].From.IsValid())
		got[i].From = want.From
		require.Equal(t, want, got[i])
	}
	require.Contains(t, got[0].Addrs, bob.v4())
}

// A client whose access is prolonged while it is connected stays beyond the time that was set before.
func TestProlonged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		key := w.add(Account{Name: "bob", Expires: time.Now().Add(10 * time.Second)})
		w.connect(key)
		w.registry.mu.Lock()
		a := w.registry.accounts[key.Public()]
		a.Expires = time.Now().Add(time.Minute)
		w.registry.accounts[key.Public()] = a
		w.registry.mu.Unlock()
		time.Sleep(30 * time.Second)
		require.Equal(t, []string{"bob"}, w.names())
		time.Sleep(31 * time.Second)
		require.Empty(t, w.names())
		w.stop()
	})
}
