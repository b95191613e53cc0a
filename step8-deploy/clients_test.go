package step8_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// A client that is added finds the server by the server's settings, may connect when the
// command has ended, and does not keep the server from starting.
func TestClientsAdd(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, os.WriteFile(w.path("psk"), []byte(serverKey), 0o600))
	w.set(t, "server.toml", "listen", []string{":5556"}, "psk_file", "psk", "transports", []string{"tcp"})
	server := w.server(t)
	clients := func(args ...string) (string, error) {
		args = append([]string{"clients"}, args...)
		return w.Server.Try(netlab.Program("stepvpn"), append(args, "-settings", w.path("server.toml"))...)
	}
	inForce := func(when string) {
		t.Helper()
		now := w.report(t, w.Server, "server.sock").Registry
		require.Len(t, now, 64, when)
		out := w.Server.Run(t, "sha256sum", w.path("clients"))
		require.Equal(t, out[:64], now, when)
	}
	_, err := clients("add", "alice", "-server", w.Server.V4.String(), "-out", w.path("alice.toml"))
	require.NoError(t, err)
	inForce("added")
	text, err := os.ReadFile(w.path("alice.toml"))
	require.NoError(t, err)
	for _, line := range []string{`server = "` + w.Server.V4.String() + `:5556"`, `transport = "tcp"`, `psk = "` + serverKey[:44] + `"`} {
		require.Contains(t, string(text), "\n"+line+"\n")
	}
	w.set(t, "alice.toml", "state", w.path("alice"), "status_socket", w.path("alice.sock"))
	client := w.client(t)
	w.seenAs(t, w.Server.V4.String())

	before, err := os.ReadFile(w.path("clients"))
	require.NoError(t, err)
	for addr, says := range map[string]string{
		"10.9.0.7":          "the fixed address 10.9.0.7 is in no subnet of the tunnel",
		"10.8.0.1":          "it is the server's own",
		"10.8.0.7,10.8.0.8": "there is more than one fixed address in 10.8.0.0/24",
	} {
		out, err := clients("add", "bob", "-server", w.Server.V4.String(), "-out", w.path("bob.toml"), "-addr", addr)
		require.Error(t, err, out)
		require.Contains(t, out, "client bob (line ")
		require.Contains(t, out, says)
		require.NoFileExists(t, w.path("bob.toml"))
	}
	after, err := os.ReadFile(w.path("clients"))
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))

	_, err = clients("revoke", "alice")
	require.NoError(t, err)
	inForce("revoked")
	client.WaitLog(t, "revoked")
	client.Interrupt()
	client.Wait(t)

	// If a server does not act upon the change, the command does not wait without end, and
	// does not claim success.
	server.Interrupt()
	require.Zero(t, server.Wait(t), server.Log())
	_, err = clients("add", "carol", "-server", "vpn.example.org:1", "-out", w.path("carol.toml"))
	require.NoError(t, err, "no server runs that it could wait for")
}

// 'clients list' shows which clients are connected, when the others were last connected, and
// which never were, whatever has happened to the file in which the server notes that.
func TestLastSeen(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	w.add(t, "bob")
	seen := func(name string) string {
		t.Helper()
		for line := range strings.Lines(w.stepvpn(t, "clients", "list", "-settings", w.path("server.toml"))) {
			if words := strings.Fields(line); words[0] == name {
				return words[len(words)-1]
			}
		}
		return ""
	}
	require.Equal(t, "never", seen("alice"), "the server has never run")
	server := w.server(t)
	began := time.Now().Add(-time.Second)
	client := w.client(t)
	require.Equal(t, "now", seen("alice"))
	require.Equal(t, "never", seen("bob"))
	client.Interrupt()
	require.Zero(t, client.Wait(t), client.Log())
	recent := func(when string) {
		t.Helper()
		var said string
		netlab.Eventually(t, limit, "it is noted, "+when, func() bool {
			said = seen("alice")
			return said != "now" && said != "never"
		})
		at, err := time.Parse(time.RFC3339, said)
		require.NoError(t, err)
		require.False(t, at.Before(began), "%v is before %v", at, began)
		require.False(t, at.After(time.Now()), at)
	}
	recent("while the server runs")
	began = time.Now().Add(-time.Second)
	client = w.client(t)
	server.Interrupt() // the server says goodbye to a connected client
	require.Zero(t, server.Wait(t), server.Log())
	recent("after the server's end")
	client.Interrupt()
	client.Wait(t)

	// A damaged file, or one that can't be written, is no reason to fail.
	file := filepath.Join(w.dir, "worker", "pool", "seen")
	require.FileExists(t, file)
	require.NoError(t, os.WriteFile(file, []byte("hunter2"), 0o600))
	out := w.stepvpn(t, "clients", "list", "-settings", w.path("server.toml"))
	require.Contains(t, out, "unknown")
	require.NotContains(t, out, "hunter2")
	require.Contains(t, w.stepvpn(t, "check", w.path("server.toml")), "last seen is damaged")
	server = w.server(t)
	require.Contains(t, server.Log(), "last seen is damaged and was set aside")
	require.Equal(t, "never", seen("alice"))
	w.stepvpn(t, "clients", "revoke", "alice", "-settings", w.path("server.toml"))
	require.Empty(t, seen("alice"))
}

// One client may have a pre-shared key of its own, on a running server, whether or not that
// has a key for all clients. A client with a wrong pre-shared key, or with none, is refused,
// and both sides say why. Only root can read the key's file.
func TestClientsOwnPSK(t *testing.T) {
	for _, common := range []bool{false, true} {
		t.Run(fmt.Sprintf("common=%v", common), func(t *testing.T) {
			w := newWorld(t)
			if common {
				require.NoError(t, os.WriteFile(w.path("psk"), []byte(serverKey), 0o600))
				w.set(t, "server.toml", "psk_file", "psk")
			}
			server := w.server(t)
			add := func(name string, args ...string) {
				t.Helper()
				w.stepvpn(t, append([]string{"clients", "add", name, "-settings", w.path("server.toml"),
					"-server", w.Server.V4.String(), "-out", w.path(name + ".toml")}, args...)...)
				w.set(t, name+".toml", "state", w.path("alice"), "status_socket", w.path("alice.sock"))
			}
			connects := func(file string) {
				t.Helper()
				client := w.Alice.Start(t, netlab.Program("stepvpn"), "client", w.path(file))
				client.WaitLog(t, "tunnel is up")
				w.seenAs(t, w.Server.V4.String())
				client.Interrupt()
				require.Zero(t, client.Wait(t), client.Log())
			}
			key := regexp.MustCompile(`(?m)^psk = "(.*)"$`)
			pskOf := func(file string) string {
				text, err := os.ReadFile(w.path(file))
				require.NoError(t, err)
				if m := key.FindSubmatch(text); m != nil {
					return string(m[1])
				}
				return ""
			}
			add("alice", "-own-psk")
			add("bob")
			add("carol", "-own-psk")
			own := pskOf("alice.toml")
			require.Len(t, own, 44)
			require.NotEqual(t, own, pskOf("carol.toml"))
			require.Equal(t, common, pskOf("bob.toml") != "")
			connects("alice.toml")
			connects("bob.toml")
			server.Interrupt()
			require.Zero(t, server.Wait(t), server.Log())
			server = w.serve(t, w.Server)
			connects("alice.toml")

			// The secret and the keys that are derived from it are in no file that other users
			// can read.
			secret, err := os.ReadFile(w.path("clients.psk"))
			require.NoError(t, err)
			info, err := os.Stat(w.path("clients.psk"))
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode())
			for _, text := range []string{own, strings.TrimSpace(string(secret))} {
				found, _ := w.Server.Try("grep", "-rlF", "--devices=skip", text, w.dir)
				for file := range strings.Lines(found) {
					require.Contains(t, []string{w.path("clients.psk"), w.path("alice.toml")}, strings.TrimSpace(file))
				}
			}

			for what, c := range map[string]struct{ psk, client, server string }{
				"none":        {"", "must have a pre-shared key, but asks without one", "a client is refused client=alice"},
				"another's":   {pskOf("carol.toml"), "the pre-shared key is not the one that the server has for this client", "its pre-shared key is not the one that the server has"},
				"that of all": {serverKey[:44], "the pre-shared key is not the one that the server has for this client", "its pre-shared key is not the one that the server has"},
			} {
				w.set(t, "alice.toml", "psk", c.psk)
				from := len(server.Log())
				client := w.start(t)
				client.WaitLog(t, c.client)
				netlab.Eventually(t, limit, "the server says it, "+what, func() bool { return strings.Contains(server.Log()[from:], c.server) })
				require.NotEqual(t, w.Server.V4.String(), w.whoami(w.Web.V4), what)
				client.Interrupt()
				client.Wait(t)
			}
			w.set(t, "alice.toml", "psk", own)
			connects("alice.toml")
			require.NoError(t, os.Remove(w.path("clients.psk")))
			out, _ := w.checks(w.Server, "server.toml")
			require.Contains(t, out, "there is no file "+w.path("clients.psk"))
		})
	}
}
