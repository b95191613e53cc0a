package step8_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// A server that was backed up while it ran, and lost, is restored: the same clients come in,
// with the same addresses.
func TestBackup(t *testing.T) {
	w := newWorld(t)
	w.add(t, "bob") // whose address is not the first one
	w.add(t, "alice")
	server := w.server(t)
	bob := w.Bob.Start(t, netlab.Program("stepvpn"), "client", w.path("bob.toml"))
	bob.WaitLog(t, "tunnel is up")
	client := w.client(t)
	w.seenAs(t, w.Server.V4.String())
	addresses := w.report(t, w.Alice, "alice.sock").Peers[0].Addresses
	require.NotEqual(t, w.report(t, w.Bob, "bob.sock").Peers[0].Addresses, addresses)
	bob.Interrupt()
	require.Zero(t, bob.Wait(t))

	safe := t.TempDir()
	file, secret := filepath.Join(safe, "backup"), filepath.Join(safe, "passphrase")
	require.NoError(t, os.WriteFile(secret, []byte("correct horse battery\n"), 0o600))
	w.stepvpn(t, "backup", "-dir", w.dir, "-passphrase-file", secret, file)
	out, err := w.Server.Try(netlab.Program("stepvpn"), "backup", "-dir", w.dir, "-passphrase-file", secret, file)
	require.Error(t, err)
	require.Contains(t, out, "backup exists already, and is left as it is")
	out, err = w.Server.Try(netlab.Program("stepvpn"), "restore", "-force", "-dir", w.dir, "-passphrase-file", secret, file)
	require.Error(t, err)
	require.Contains(t, out, "a server is running on this host\n  Stop it first: systemctl stop stepvpn-server\n")

	server.Kill()
	server.Wait(t)
	for _, name := range []string{"server.toml", "server.key", "clients", "worker"} {
		require.NoError(t, os.RemoveAll(w.path(name)))
	}
	require.NoError(t, os.WriteFile(filepath.Join(safe, "other"), []byte("incorrect horse battery\n"), 0o600))
	out, err = w.Server.Try(netlab.Program("stepvpn"), "restore", "-dir", w.dir, "-passphrase-file", filepath.Join(safe, "other"), file)
	require.Error(t, err)
	require.Contains(t, out, "backup: the passphrase is wrong, or the file is damaged\n  Nothing was changed.\n")
	require.NoFileExists(t, w.path("server.toml"))

	w.stepvpn(t, "restore", "-dir", w.dir, "-passphrase-file", secret, file)
	w.serve(t, w.Server)
	w.seenAs(t, w.Server.V4.String())
	require.Equal(t, addresses, w.report(t, w.Alice, "alice.sock").Peers[0].Addresses)
	client.Interrupt()
	require.Zero(t, client.Wait(t), client.Log())
}
