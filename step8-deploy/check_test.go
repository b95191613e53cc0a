package step8_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// checks runs 'check' on settings. It returns the output, and whether 'check' found no errors.
func (w *world) checks(h *netlab.Host, file string) (out string, fine bool) {
	out, err := h.Try(netlab.Program("stepvpn"), "check", w.path(file))
	return out, err == nil
}

// If 'check' finds something wrong with a server's settings or its host, so does a start. If
// it finds nothing, the server starts.
func TestCheckServer(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	w.set(t, "server.toml", "status_socket", w.path("server.sock"))
	// fine checks settings without errors or warnings.
	fine := func(when string) {
		t.Helper()
		out, is := w.checks(w.Server, "server.toml")
		require.True(t, is, "%s: %s", when, out)
		require.Equal(t, w.path("server.toml")+": the settings of a server, and they are fine\n", out, when)
	}
	fine("at first")
	before := state(t, w.Server)
	put := func(name, text string, mode os.FileMode) func() {
		old, err := os.ReadFile(w.path(name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(w.path(name), []byte(text), mode))
		require.NoError(t, os.Chmod(w.path(name), mode))
		return func() {
			require.NoError(t, os.WriteFile(w.path(name), old, 0o600))
			require.NoError(t, os.Chmod(w.path(name), 0o600))
		}
	}
	registry, err := os.ReadFile(w.path("clients"))
	require.NoError(t, err)
	set := func(key string, value, back any) func() func() {
		return func() func() {
			w.set(t, "server.toml", key, value)
			return func() { w.set(t, "server.toml", key, back) }
		}
	}
	host := func(do, undo string) func() func() {
		return func() func() {
			w.Server.Run(t, "sh", "-c", do)
			return func() { w.Server.Run(t, "sh", "-c", undo) }
		}
	}
	// A Python program listens at the server's port.
	listens := func(program string) func() func() {
		return func() func() {
			p := w.Server.Start(t, "python3", "-c", "import socket\n"+program+"\nprint('there', flush=True)\nwhile True: s.recv(1)")
			p.WaitLog(t, "there")
			return func() { p.Kill(); p.Wait(t) }
		}
	}
	for _, c := range []struct {
		name  string
		begin func() func()
		says  string
	}{
		{"a registry with a typo", func() func() { return put("clients", string(registry)+"bob\n", 0o600) }, "clients:5: bob has no public key"},
		{"a registry that others may write", func() func() { return put("clients", string(registry), 0o666) }, "may be written by users other than its owner"},
		{"a fixed address of another network", func() func() {
			return put("clients", string(registry)+"bob "+clientKey+" addr=10.9.0.7\n", 0o600)
		}, "client bob (line 5 of the registry): the fixed address 10.9.0.7 is in no subnet of the tunnel"},
		{"a key that others may read", func() func() { return put("server.key", serverKey, 0o644) }, "may be read or changed by users other than its owner"},
		{"no preshared key", set("psk_file", "nothing", ""), "which the setting psk_file names"},
		{"a device that is there", host("ip link add vpn0 type bridge", "ip link del vpn0"), "device name vpn0 is taken"},
		{"a subnet that is another one's", set("subnets", []string{w.Server.V4.String() + "/24"}, []string{"10.8.0.1/24", "fd00:8::1/64"}), "overlaps"},
		{"a port that is taken", listens("s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('0.0.0.0',5555))"), "another program uses udp port"},
		{"an address that is not there", set("listen", []string{"192.0.2.99:5555"}, []string{":5555"}), "this host does not have that address"},
		{"another program on port 53", listens("s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('0.0.0.0',53))"), "another program has it"},
		{"a state that is no folder", set("state", w.path("server.key"), w.dir), "the folder of the setting state"},
		{"a status socket whose path is another file", set("status_socket", w.path("server.key"), w.path("server.sock")), "status socket"},
	} {
		t.Run(c.name, func(t *testing.T) {
			end := c.begin()
			out, is := w.checks(w.Server, "server.toml")
			require.False(t, is, out)
			require.Contains(t, out, c.says)
			started, err := w.Server.Try("timeout", "60", netlab.Program("stepvpn"), "server", w.path("server.toml"))
			require.Error(t, err)
			require.Contains(t, started, c.says, "a start says the same")
			end()
			fine("afterwards")
		})
	}

	// These are only warnings, also at a start.
	w.set(t, "server.toml", "egress", "nowhere0")
	out, is := w.checks(w.Server, "server.toml")
	require.True(t, is, out)
	require.Contains(t, out, "warning: there is no interface nowhere0, through which clients' packets are to leave")
	w.set(t, "server.toml", "egress", "")
	require.Equal(t, before, state(t, w.Server), "it changes nothing")

	// What the running server uses is free for the server that takes its place.
	server := w.serve(t, w.Server)
	fine("while it runs")
	w.set(t, "server.toml", "listen", []string{":5555", ":53"}, "metrics", "127.0.0.1:9586")
	fine("other settings, while it runs")
	server.Interrupt()
	require.Zero(t, server.Wait(t))

	// What is lost of the clients' usage and quotas, before a start and after it.
	w.set(t, "server.toml", "listen", []string{":5555"}, "metrics", "")
	fine("after it ran")
	segments, err := filepath.Glob(w.path("worker/pool/usage/*-*"))
	require.NoError(t, err)
	if len(segments) == 0 { // nobody has used it
		segments = []string{w.path("worker/pool/usage/days-0000000000000001")}
	}
	require.NoError(t, os.WriteFile(segments[0], []byte("something else altogether"), 0o600))
	require.NoError(t, os.WriteFile(w.path("worker/pool/used"), []byte("something else altogether"), 0o600))
	out, is = w.checks(w.Server, "server.toml")
	require.True(t, is, out)
	require.Contains(t, out, "warning: the file of the clients' usage "+segments[0]+" is damaged: it is not a file of this program\n  A start sets it aside;")
	require.Contains(t, out, "warning: the file of what clients have used of their quotas is damaged: line 1 is not a public key, a day and a number\n  A start sets it aside;")
	server = w.serve(t, w.Server)
	server.WaitLog(t, "clients have used is damaged and was set aside")
	server.WaitLog(t, "a file of the clients' usage is damaged and was set aside")
	server.Interrupt()
	require.Zero(t, server.Wait(t))
	out, is = w.checks(w.Server, "server.toml")
	require.True(t, is, out)
	require.Contains(t, out, "warning: "+w.path("worker/pool/usage/damaged")+" was set aside, because it was damaged")
}

func TestCheckClient(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	fine := func() {
		t.Helper()
		out, is := w.checks(w.Alice, "alice.toml")
		require.True(t, is, out)
		require.Equal(t, w.path("alice.toml")+": the settings of a client, and they are fine\n", out)
	}
	fine()
	w.Alice.Run(t, "ip", "link", "add", "vpn0", "type", "bridge")
	out, is := w.checks(w.Alice, "alice.toml")
	require.False(t, is, out)
	require.Contains(t, out, "device name vpn0 is taken")
	w.Alice.Run(t, "ip", "link", "del", "vpn0")
	out, err := w.Alice.Try("env", w.nft(t, nftFails), netlab.Program("stepvpn"), "check", w.path("alice.toml"))
	require.Error(t, err, out)
	require.Contains(t, out, "Cannot allocate memory")
	w.server(t)
	w.client(t)
	fine()
}

const (
	serverKey = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n"
	clientKey = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
)
