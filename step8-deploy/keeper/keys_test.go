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

// The keeper remembers the server's key that a worker reports, if it follows a key that is in
// the settings or was remembered. Any other report changes nothing.
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
		require.Equal(t, rotation.Load(state, own), k.told.Learned, "the disk has it as well")
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

	// The key is remembered at the next start, but not if the settings have another key.
	use(own)
	require.Equal(t, []noise.PublicKey{after}, k.told.Learned)
	use(stranger)
	require.Empty(t, k.told.Learned)
	refused2, err := k.remember(lesson{after, next})
	require.Error(t, err)
	require.False(t, refused2)
	use(own)

	// A key that can't be written is not used, because the next start would not know it.
	require.NoError(t, os.Remove(rotation.File(state)))
	require.NoError(t, os.Mkdir(rotation.File(state), 0o700))
	require.NoError(t, os.WriteFile(rotation.File(state)+"/x", nil, 0o600))
	_, err = k.remember(lesson{after, next})
	require.ErrorContains(t, err, "can't be remembered")
	require.Equal(t, []noise.PublicKey{after}, k.told.Learned)
	require.NoError(t, os.RemoveAll(rotation.File(state)))

	// An attacker who has taken over the worker can't fill the log.
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
