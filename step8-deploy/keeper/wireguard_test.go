package keeper

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/step8-deploy/config"
)

// The key for clients of the WireGuard protocol is made once. One that others may have read is
// neither used nor replaced.
func TestWireGuardKey(t *testing.T) {
	cfg := &config.Server{Clients: filepath.Join(t.TempDir(), "clients")}
	first, err := WireGuardKey(cfg)
	require.NoError(t, err)
	again, err := WireGuardKey(cfg)
	require.NoError(t, err)
	require.Equal(t, first, again)
	info, err := os.Stat(WireGuardKeyFile(cfg))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	require.NoError(t, os.Chmod(WireGuardKeyFile(cfg), 0o644))
	_, err = WireGuardKey(cfg)
	require.ErrorContains(t, err, "may be read or changed by users other than its owner")
	require.NoError(t, checkWireGuardKey(cfg), "the settings do not ask for it")
	cfg.WireGuard = true
	require.Error(t, checkWireGuardKey(cfg))
	require.NoError(t, os.Remove(WireGuardKeyFile(cfg)))
	require.NoError(t, checkWireGuardKey(cfg), "it will be made")
	require.NoFileExists(t, WireGuardKeyFile(cfg))
}
