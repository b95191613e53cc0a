package step8_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// rotate runs 'stepvpn rotate-key', and returns its output, and whether it has succeeded.
func (w *world) rotate(args ...string) (out string, done bool) {
	out, err := w.Server.Try(netlab.Program("stepvpn"), append([]string{"rotate-key", "-settings", w.path("server.toml")}, args...)...)
	return out, err == nil
}

func (w *world) mustRotate(t *testing.T, args ...string) string {
	t.Helper()
	out, done := w.rotate(args...)
	require.True(t, done, out)
	return out
}

// seen returns what 'clients list' says about when a client was last connected, and by which
// key.
func (w *world) seen(t *testing.T, name string) string {
	t.Helper()
	for line := range strings.Lines(w.stepvpn(t, "clients", "list", "-settings", w.path("server.toml"))) {
		if words := strings.Fields(line); words[0] == name {
			return strings.Join(words[5:], " ")
		}
	}
	return ""
}

// again restarts the server.
func (w *world) again(t *testing.T, server *netlab.Process) *netlab.Process {
	t.Helper()
	server.Interrupt()
	require.Zero(t, server.Wait(t), server.Log())
	return w.serve(t, w.Server)
}

var keyLine = regexp.MustCompile(`(?m)^server_key = "(.*)"$`)

// serverKeyOf returns the key that a client's file names.
func (w *world) serverKeyOf(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(w.path(file))
	require.NoError(t, err)
	m := keyLine.FindSubmatch(text)
	require.NotNil(t, m)
	return string(m[1])
}

func (w *world) publicKey(t *testing.T, file string) string {
	t.Helper()
	return strings.TrimSpace(w.stepvpn(t, "clients", "public-key", "-settings", w.path("server.toml"), "-key", w.path(file)))
}

// The server's key is changed, and no client gets a new file. A client that comes by the old
// key is told the next one, and uses that, at once and after a restart. The old key is not
// dropped before all clients have used the next one.
func TestRotateKey(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	w.stepvpn(t, "clients", "add", "bob", "-own-psk", "-settings", w.path("server.toml"), "-server", w.Server.V4.String(), "-out", w.path("bob.toml"))
	w.set(t, "bob.toml", "state", w.path("bob"), "status_socket", w.path("alice.sock")) // on alice's host, on some day
	old := w.serverKeyOf(t, "alice.toml")
	server := w.server(t)
	client := w.client(t)
	w.seenAs(t, w.Server.V4.String())
	_, done := w.rotate("-finish")
	require.False(t, done, "nothing is being changed")
	_, done = w.rotate("-cancel")
	require.False(t, done)

	w.mustRotate(t)
	info, err := os.Stat(w.path("server.key.next"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	next := w.publicKey(t, "server.key.next")
	require.NotEqual(t, old, next)
	out, done := w.rotate()
	require.False(t, done)
	require.Contains(t, out, "is being changed already")
	require.Equal(t, next, w.publicKey(t, "server.key.next"))
	require.Equal(t, "now, by the old key", w.seen(t, "alice"))

	// A client that is added before the server is restarted gets the present key, so it can connect
	// at once.
	add := func(name string) {
		t.Helper()
		w.stepvpn(t, "clients", "add", name, "-settings", w.path("server.toml"), "-server", w.Server.V4.String(), "-out", w.path(name+".toml"))
	}
	add("carol")
	require.Equal(t, old, w.serverKeyOf(t, "carol.toml"))
	w.stepvpn(t, "clients", "revoke", "carol", "-settings", w.path("server.toml"))

	server = w.again(t, server)
	add("dave")
	require.Equal(t, next, w.serverKeyOf(t, "dave.toml"))
	w.stepvpn(t, "clients", "revoke", "dave", "-settings", w.path("server.toml"))
	byNext := func(name string) {
		t.Helper()
		netlab.Eventually(t, limit, name+" comes by the next key", func() bool { return w.seen(t, name) == "now, by the next key" })
		w.seenAs(t, w.Server.V4.String())
	}
	byNext("alice")
	require.False(t, client.Ended(), "it is the same one")
	require.Contains(t, w.Server.Run(t, netlab.Program("stepvpn"), "status", "-socket", w.path("server.sock")), "the server's key changes to "+next)

	// Bob has not been connected, so the old key stays in force.
	out, done = w.rotate("-finish")
	require.False(t, done, out)
	require.Contains(t, out, "could not come in any more: bob\n")
	require.FileExists(t, w.path("server.key.next"))
	client.Interrupt()
	require.Zero(t, client.Wait(t), client.Log())
	netlab.Eventually(t, limit, "it is noted by which key alice came", func() bool {
		return strings.HasSuffix(w.seen(t, "alice"), "Z, by the next key")
	})
	client = w.Alice.Start(t, netlab.Program("stepvpn"), "client", w.path("bob.toml"))
	client.WaitLog(t, "tunnel is up")
	byNext("bob")
	w.mustRotate(t, "-finish")
	require.NoFileExists(t, w.path("server.key.next"))
	require.Equal(t, next, w.publicKey(t, "server.key"))
	info, err = os.Stat(w.path("server.key"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	// The old key is gone. A client that was told the next one uses it, whatever its file
	// says.
	server = w.again(t, server)
	w.seenAs(t, w.Server.V4.String())
	require.Equal(t, "now", w.seen(t, "bob"))
	client.Interrupt()
	require.Zero(t, client.Wait(t), client.Log())
	client = w.client(t)
	w.seenAs(t, w.Server.V4.String())
	require.Equal(t, old, w.serverKeyOf(t, "alice.toml"))

	// The same works with the key after that.
	w.mustRotate(t)
	server = w.again(t, server)
	byNext("alice")
	w.mustRotate(t, "-finish", "-force")
	w.again(t, server)
	w.seenAs(t, w.Server.V4.String())

	// A client that has forgotten everything has neither key, and is not let in.
	client.Interrupt()
	require.Zero(t, client.Wait(t), client.Log())
	require.NoError(t, os.Remove(w.path("alice/server-keys")))
	client = w.start(t)
	client.WaitLog(t, "no answer")
	require.NotEqual(t, w.Server.V4.String(), w.whoami(w.Web.V4))
	w.set(t, "alice.toml", "server_key", w.publicKey(t, "server.key"))
	client.Signal(syscall.SIGHUP)
	w.seenAs(t, w.Server.V4.String())
}

// Neither a change that is taken back nor a key that no server has announced keeps a client
// out. A damaged file is set aside. Another key in the settings counts at once.
func TestRotateKeyTakenBack(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, os.WriteFile(w.path("psk"), []byte(serverKey), 0o600)) // every client has it
	w.set(t, "server.toml", "psk_file", "psk")
	w.add(t, "alice")
	server := w.server(t)
	w.mustRotate(t)
	server = w.again(t, server)
	client := w.client(t)
	file := w.path("alice/server-keys")
	netlab.Eventually(t, limit, "the next key is remembered", func() bool {
		text, _ := os.ReadFile(file)
		return strings.Count(string(text), "\n") == 2
	})
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	stale := func() bool {
		out, _ := w.checks(w.Server, "server.toml")
		return strings.Contains(out, "started before its keys were changed")
	}
	require.False(t, stale())
	w.mustRotate(t, "-cancel")
	require.NoFileExists(t, w.path("server.key.next"))
	require.True(t, stale())
	w.again(t, server)
	require.False(t, stale())
	w.seenAs(t, w.Server.V4.String())
	netlab.Eventually(t, limit, "it is forgotten", func() bool {
		_, err := os.Stat(file)
		return os.IsNotExist(err)
	})
	w.seenAs(t, w.Server.V4.String())
	client.Interrupt()
	require.Zero(t, client.Wait(t), client.Log())

	own := w.serverKeyOf(t, "alice.toml")
	for what, text := range map[string]string{
		"a key that nobody has": own + "\n" + serverKey[:44] + "\n",
		"damage":                own + "\nnonsense\n",
		"of another key":        serverKey[:44] + "\n" + serverKey[:44] + "\n",
	} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		if what == "damage" {
			out, _ := w.checks(w.Alice, "alice.toml")
			require.Contains(t, out, "keys that the server has announced is damaged")
		}
		client = w.start(t)
		w.seenAs(t, w.Server.V4.String())
		if what == "damage" {
			require.Contains(t, client.Log(), "is damaged and was set aside")
			require.FileExists(t, file+".damaged")
		}
		client.Interrupt()
		require.Zero(t, client.Wait(t), client.Log())
	}
}

// A client from before key changes existed works as long as the server has its key.
func TestRotateKeyOldClient(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	server := w.server(t)
	w.mustRotate(t)
	w.again(t, server)
	text, err := os.ReadFile(w.path("alice.toml"))
	require.NoError(t, err)
	value := func(key string) string {
		m := regexp.MustCompile(`(?m)^` + key + ` = (".*")$`).FindSubmatch(text)
		require.NotNil(t, m, key)
		var s string
		require.NoError(t, json.Unmarshal(m[1], &s))
		return s
	}
	profile := filepath.Join(w.dir, "alice.profile")
	lines := "server " + value("server") + "\nserver-key " + value("server_key") + "\nprivate-key " + value("private_key") + "\n"
	require.NoError(t, os.WriteFile(profile, []byte(lines), 0o600))
	client := w.Alice.Start(t, netlab.Program("client"), "-profile", profile) // of step 7
	client.WaitLog(t, "tunnel is up")
	w.seenAs(t, w.Server.V4.String())
	require.Equal(t, "now, by the old key", w.seen(t, "alice"))
}

// As a service, the server gets its next key as it gets its key, so it need not be able to
// read either file.
func TestRotateKeyOfAService(t *testing.T) {
	w := newWorld(t)
	w.serverBox(t)
	run := func(command ...string) string {
		t.Helper()
		return must(t, append([]string{"exec", "server", "timeout", "60"}, command...)...)
	}
	run("systemctl", "start", "stepvpn-server")
	w.client(t)
	w.seenAs(t, w.Server.V4.String())
	run("stepvpn", "rotate-key")
	require.Contains(t, run("stepvpn", "clients", "list"), "now, by the old key")
	run("systemctl", "restart", "stepvpn-server")
	netlab.Eventually(t, limit, "alice comes by the next key", func() bool {
		return strings.Contains(run("stepvpn", "clients", "list"), "now, by the next key")
	})
	w.seenAs(t, w.Server.V4.String())
	run("stepvpn", "rotate-key", "-finish")
	run("systemctl", "restart", "stepvpn-server")
	w.seenAs(t, w.Server.V4.String())
	require.NotContains(t, run("stepvpn", "clients", "list"), "key,")
}
