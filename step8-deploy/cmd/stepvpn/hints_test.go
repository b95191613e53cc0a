package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What an error of step 7 tells people to type is a command of this program.
func TestHints(t *testing.T) {
	dir := t.TempDir()
	fails := func(want string, args ...string) {
		t.Helper()
		out, code := stepvpn(t, dir, args...)
		require.Equal(t, 1, code, out)
		require.Contains(t, out, want)
	}
	fails("there is no key file no.key\n  'stepvpn init server' makes it, on the server.\n", "clients", "public-key", "-key", "no.key")
	fails("there is no registry none\n  'stepvpn init server' makes it, with a key for the server; so does adding the first client.\n",
		"clients", "revoke", "alice", "-registry", "none")
	out, code := stepvpn(t, dir, "init", "server", "-dir", ".")
	require.Zero(t, code, out)
	add := []string{"clients", "add", "alice", "-registry", "clients", "-key", "server.key", "-server", "192.0.2.1:5555"}
	out, code = stepvpn(t, dir, add...)
	require.Zero(t, code, out)
	fails("To give alice a new key, type 'stepvpn clients revoke alice' first.\n", add...)
	fails("'stepvpn clients list' shows all.\n", "clients", "revoke", "zebra", "-registry", "clients")
}
