package keeper

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step8-deploy/config"
)

// Each client has a different key, which is always the same for the same secret. The secret is
// made once, and only its owner can read it.
func TestOwnPSK(t *testing.T) {
	cfg := &config.Server{Clients: filepath.Join(t.TempDir(), "clients")}
	secret, err := PSKSecret(cfg)
	require.NoError(t, err)
	require.Nil(t, secret)
	alice, bob := noise.PublicKey{1}, noise.PublicKey{2}
	hers, err := NewOwnPSK(cfg, alice)
	require.NoError(t, err)
	his, err := NewOwnPSK(cfg, bob)
	require.NoError(t, err)
	again, err := NewOwnPSK(cfg, alice)
	require.NoError(t, err)
	require.Equal(t, hers, again)
	require.NotEqual(t, hers, his)
	require.NotEqual(t, hers, OwnPSK(new([noise.KeyLen]byte), alice))
	info, err := os.Stat(PSKSecretFile(cfg))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	// A secret that others may have read is not used, and is not replaced in silence.
	require.NoError(t, os.Chmod(PSKSecretFile(cfg), 0o644))
	_, err = NewOwnPSK(cfg, alice)
	require.ErrorContains(t, err, "may be read or changed by users other than its owner")
}

// Clients that are added at the same moment, the first ones to have such keys, all get theirs from one secret.
func TestFirstOwnPSKs(t *testing.T) {
	cfg := &config.Server{Clients: filepath.Join(t.TempDir(), "clients")}
	var keys [20]*[noise.KeyLen]byte
	var errs [20]error
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() { keys[i], errs[i] = NewOwnPSK(cfg, noise.PublicKey{1}) })
	}
	all.Wait()
	secret, err := PSKSecret(cfg)
	require.NoError(t, err)
	for i := range keys {
		require.NoError(t, errs[i])
		require.Equal(t, OwnPSK(secret, noise.PublicKey{1}), keys[i])
	}
	left, err := os.ReadDir(filepath.Dir(cfg.Clients))
	require.NoError(t, err)
	require.Len(t, left, 1, "the lock is gone")
}
