package keeper

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/rotation"
)

// What a worker says of the server's keys is remembered if it begins with a key that the
// settings name, or that was remembered under it. All else changes nothing.
func TestLearn(t *testing.T) {
	k := client(t, netip.MustParseAddrPort("203.0.113.10:5555"))
	own, next, after, stranger := noise.PublicKey{1}, noise.PublicKey{2}, noise.PublicKey{3}, noise.PublicKey{9}
	use := func(key noise.PublicKey) {
		cfg := *k.cfg
		cfg.ServerKey = config.Key(key)
		k.set(&Settings{Client: &cfg, Identity: identity.Profile{ServerKey: key}})
	}
	use(own)
	state := k.cfg.State
	learn := func(by, next noise.PublicKey, news bool, want ...noise.PublicKey) {
		t.Helper()
		got, err := k.remember(lesson{by, next})
		require.NoError(t, err)
		require.Equal(t, news, got)
		require.ElementsMatch(t, want, k.told.Learned)
		require.Equal(t, rotation.Load(state, own), k.told.Learned, "it is on the disk, too")
	}
	refused := func(by, next noise.PublicKey) {
		t.Helper()
		before := k.told.Learned
		_, err := k.remember(lesson{by, next})
		require.Error(t, err)
		require.Equal(t, before, k.told.Learned)
		require.Equal(t, before, rotation.Load(state, own))
	}
	refused(stranger, next)
	refused(noise.PublicKey{}, next)
	refused(own, own)
	learn(own, noise.PublicKey{}, false)
	learn(own, next, true, next)
	learn(own, next, false, next)
	refused(stranger, after)
	refused(after, next)
	learn(next, after, true, after, next)
	learn(after, noise.PublicKey{}, true, after)
	refused(next, stranger)

	// It is there at the next start, and with another key in the settings it is not.
	use(own)
	require.Equal(t, []noise.PublicKey{after}, k.told.Learned)
	use(stranger)
	require.Empty(t, k.told.Learned)
	refused2, err := k.remember(lesson{after, next})
	require.Error(t, err)
	require.False(t, refused2)
	use(own)

	// What can't be written does not count: the next start would not know it.
	require.NoError(t, os.Remove(rotation.File(state)))
	require.NoError(t, os.Mkdir(rotation.File(state), 0o700))
	require.NoError(t, os.WriteFile(rotation.File(state)+"/x", nil, 0o600))
	_, err = k.remember(lesson{after, next})
	require.ErrorContains(t, err, "can't be remembered")
	require.Equal(t, []noise.PublicKey{after}, k.told.Learned)
	require.NoError(t, os.RemoveAll(rotation.File(state)))

	// Who has taken the worker over does not fill the log.
	news := 0
	for i := range byte(100) {
		if got, _ := k.remember(lesson{own, noise.PublicKey{100 + i}}); got {
			news++
		}
	}
	require.Positive(t, news)
	require.LessOrEqual(t, news, maxLessons)
	k.lessons.since = k.lessons.since.Add(-time.Hour)
	learn(own, next, true, next)
}
