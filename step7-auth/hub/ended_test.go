package hub

import (
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/secure"
)

// Config.Ended gets what a session has counted until its end: when the client is cut off, and
// when another machine takes its place.
func TestEnded(t *testing.T) {
	ended := make(chan Status, 8)
	w := serve(t, func(c *Config) { c.Ended = func(s Status) { ended <- s } })
	key := w.add(Account{Name: "bob"})
	bob := w.connect(key)
	sent := ip(bob.v4(), web, "x")
	write(t, bob, sent)
	w.read()
	write(t, bob, ip(web, web, "spoofed"))
	w.dropped(Spoofed, 1)
	before := w.hub.Snapshot()[0]
	require.Equal(t, uint64(1), before.Dropped)

	second := w.connect(key)
	write(t, second, ip(second.v4(), web, "y"))
	w.read()
	first := <-ended
	require.Equal(t, before.Since, first.Since)
	require.Equal(t, before.Handshake, first.Handshake)
	require.NotZero(t, first.Handshake)
	require.Equal(t, [4]uint64{1, uint64(len(sent)), 1, 0}, [4]uint64{first.ReceivedPackets, first.ReceivedBytes, first.Dropped, first.SentPackets})
	require.NotEqual(t, before.Since, w.hub.Snapshot()[0].Since, "another session")

	w.hub.Cut(key.Public(), secure.Rejected{Reason: "enough", Final: true})
	last := <-ended
	require.Equal(t, key.Public(), last.Key)
	require.Equal(t, uint64(1), last.ReceivedPackets)
	require.True(t, last.LoggedIn)
	require.NotZero(t, last.Handshake)
	require.Empty(t, ended)
}
