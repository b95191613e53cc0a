// Package step7_test tries the programs of this step as they are used: on hosts
// in network namespaces, with other people's tools.
package step7_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

func TestMain(m *testing.M) {
	netlab.Main(m, "./cmd/client", "./cmd/server", "./cmd/clients", "../step4-crypto/cmd/keygen")
}

const limit = 60 * time.Second // bounds each wait; a busy machine is slow

// A world is the lab with its web site, and the server's files.
type world struct {
	*netlab.Lab
	dir string
}

func newWorld(t *testing.T) *world {
	lab := netlab.New(t)
	lab.Web.ServeSite(t)
	lab.Web.ServeDNS(t)
	w := &world{lab, t.TempDir()}
	w.Server.Run(t, netlab.Program("keygen"), "-out", w.file("server.key"))
	require.NoError(t, os.WriteFile(w.file("clients"), nil, 0o600))
	return w
}

func (w *world) file(name string) string { return filepath.Join(w.dir, name) }

// add lets a client in, and returns its file.
func (w *world) add(t *testing.T, name string, flags ...string) string {
	t.Helper()
	profile := w.file(name + ".conf")
	w.Server.Run(t, netlab.Program("clients"), append([]string{"add", "-registry", w.file("clients"), "-key", w.file("server.key"),
		"-server", w.Server.V4.String() + ":5555", "-out", profile}, append(flags, name)...)...)
	return profile
}

func (w *world) clients(t *testing.T, args ...string) {
	t.Helper()
	w.Server.Run(t, netlab.Program("clients"), append([]string{args[0], "-registry", w.file("clients")}, args[1:]...)...)
}

func (w *world) server(t *testing.T, flags ...string) *netlab.Process {
	t.Helper()
	p := w.Server.Start(t, netlab.Program("server"), append([]string{"-key", w.file("server.key"), "-registry", w.file("clients"),
		"-leases", w.file("leases"), "-dns", w.Web.V4.String()}, flags...)...)
	p.WaitLog(t, "tunnel is up")
	return p
}

func start(t *testing.T, h *netlab.Host, profile string, flags ...string) *netlab.Process {
	t.Helper()
	p := h.Start(t, netlab.Program("client"), append([]string{"-profile", profile}, flags...)...)
	p.WaitLog(t, "tunnel is up")
	return p
}

// refused starts a client that is not let in, and returns what it says.
func refused(t *testing.T, h *netlab.Host, profile string) string {
	t.Helper()
	p := h.Start(t, netlab.Program("client"), "-profile", profile)
	require.Equal(t, 1, p.Wait(t), p.Log())
	return p.Log()
}

// inside returns the host's IPv4 address in the tunnel.
func inside(t *testing.T, h *netlab.Host) string {
	t.Helper()
	return strings.Fields(h.Run(t, "ip", "-4", "-br", "address", "show", "vpn0"))[2]
}

func interrupt(t *testing.T, processes ...*netlab.Process) {
	t.Helper()
	for _, p := range processes {
		p.Interrupt()
		require.Zero(t, p.Wait(t), p.Log())
	}
}

// whoami is the address under which the web site sees the host.
func whoami(t *testing.T, h *netlab.Host) string {
	t.Helper()
	return strings.TrimSpace(h.Run(t, "curl", "-4sS", "--max-time", "20", "http://web.example/whoami"))
}

func TestTwoClients(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			w := newWorld(t)
			alice, bob := w.add(t, "alice"), w.add(t, "bob", "-addr", "10.8.0.77")
			s := w.server(t, "-transport", network)
			a, b := start(t, w.Alice, alice, "-transport", network), start(t, w.Bob, bob, "-transport", network)
			require.Equal(t, "10.8.0.2/24", inside(t, w.Alice))
			require.Equal(t, "10.8.0.77/24", inside(t, w.Bob))
			require.Equal(t, w.Server.V4.String(), whoami(t, w.Alice))
			require.Equal(t, w.Server.V4.String(), whoami(t, w.Bob))
			w.Alice.Run(t, "ping", "-c", "2", "-W", "5", "10.8.0.1")

			// They don't reach each other, and not by way of the server's host.
			_, err := w.Alice.Try("ping", "-c", "1", "-W", "2", "10.8.0.77")
			require.Error(t, err)
			// Alice takes an address that is not hers.
			w.Alice.Run(t, "ip", "address", "add", "10.8.0.88/32", "dev", "vpn0")
			_, err = w.Alice.Try("ping", "-c", "1", "-W", "2", "-I", "10.8.0.88", "10.8.0.1")
			require.Error(t, err)
			interrupt(t, a, b, s)
			require.Contains(t, s.Log(), "to-client 1")
			require.Contains(t, s.Log(), "spoofed 1")
		})
	}
}

func TestClientToClient(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.add(t, "alice"), w.add(t, "bob")
	s := w.server(t, "-client-to-client")
	a, b := start(t, w.Alice, alice), start(t, w.Bob, bob)
	w.Alice.Run(t, "ping", "-c", "2", "-W", "5", "10.8.0.3")
	interrupt(t, a, b, s)
}

// A client is revoked while it is connected; it ends with the reason, and the
// kernel has forgotten its connections.
func TestRevoked(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.add(t, "alice"), w.add(t, "bob")
	s := w.server(t)
	a, b := start(t, w.Alice, alice), start(t, w.Bob, bob)
	require.Equal(t, w.Server.V4.String(), whoami(t, w.Bob))
	w.clients(t, "revoke", "bob")
	require.Equal(t, 1, b.Wait(t), b.Log())
	require.Contains(t, b.Log(), "the access of bob was revoked")
	require.Contains(t, refused(t, w.Bob, bob), "the server does not know this key")
	require.NotContains(t, s.Log(), "can't be flushed")
	require.Equal(t, w.Server.V4.String(), whoami(t, w.Alice), "alice goes on")
	interrupt(t, a, s)
}

// After a restart of the server, even one that was killed, both clients get the
// same addresses again, by themselves.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.add(t, "alice"), w.add(t, "bob")
	s := w.server(t)
	b := start(t, w.Bob, bob)
	a := start(t, w.Alice, alice)
	before := []string{inside(t, w.Alice), inside(t, w.Bob)}
	require.Equal(t, []string{"10.8.0.3/24", "10.8.0.2/24"}, before)
	netlab.Eventually(t, limit, "both leases are on the disk", func() bool {
		text, _ := os.ReadFile(w.file("leases"))
		return strings.Contains(string(text), "10.8.0.2") && strings.Contains(string(text), "10.8.0.3")
	})
	s.Kill()
	s.Wait(t)
	s = w.server(t)
	for _, h := range []*netlab.Host{w.Alice, w.Bob} {
		netlab.Eventually(t, limit, "the tunnel carries packets again", func() bool {
			_, err := h.Try("ping", "-c", "1", "-W", "1", "10.8.0.1")
			return err == nil
		})
	}
	require.Equal(t, before, []string{inside(t, w.Alice), inside(t, w.Bob)})
	interrupt(t, a, b, s)
}

// Each refusal is a sentence at the client.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.add(t, "alice"), w.add(t, "bob")
	old := w.add(t, "old", "-expires", "1s")
	time.Sleep(time.Second)
	s := w.server(t, "-addr", "10.8.0.1/30")
	a := start(t, w.Alice, alice)
	require.Contains(t, refused(t, w.Bob, old), "client: connecting: the server refuses: the access of this client has expired\n")
	require.Contains(t, refused(t, w.Bob, bob), "client: connecting: the server refuses: the server has no free address, try again later\n")
	interrupt(t, a, s)

	s = w.server(t, "-max-clients", "1")
	a = start(t, w.Alice, alice)
	require.Contains(t, refused(t, w.Bob, bob), "client: connecting: the server refuses: the server is full")

	// Another machine with the same key takes over, and the first one ends.
	again := start(t, w.Bob, alice)
	require.Equal(t, 1, a.Wait(t), a.Log())
	require.Contains(t, a.Log(), "another machine with the same key has taken the place of this one")
	require.Contains(t, s.Log(), "takes the place of a client")
	interrupt(t, again, s)
}

// Who does not have the server's public key hears nothing.
func TestMallory(t *testing.T) {
	w := newWorld(t)
	profile := w.add(t, "mallory")
	s := w.server(t)
	text, err := os.ReadFile(profile)
	require.NoError(t, err)
	other := fmt.Sprintf("server-key     %s\n", "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=")
	wrong := w.file("wrong.conf")
	lines := strings.SplitAfter(string(text), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "server-key") {
			lines[i] = other
		}
	}
	require.NoError(t, os.WriteFile(wrong, []byte(strings.Join(lines, "")), 0o600))
	capture := w.Server.Capture(t, "eth0", "udp port 5555")
	p := w.Cafe.Start(t, netlab.Program("client"), "-profile", wrong, "-tries", "2")
	require.Equal(t, 1, p.Wait(t))
	require.Contains(t, p.Log(), "no answer from the server")
	require.Len(t, capture.Stop(), 2, "two questions, no answer")
	interrupt(t, s)
	require.Contains(t, s.Log(), "bad-mac 2")
}

// A client that needs a password gets in with the right one only.
func TestPassword(t *testing.T) {
	w := newWorld(t)
	right, wrong := w.file("right"), w.file("wrong")
	require.NoError(t, os.WriteFile(right, []byte("correct horse\ncorrect horse\n"), 0o600))
	require.NoError(t, os.WriteFile(wrong, []byte("battery staple\n"), 0o600))
	profile := w.file("alice.conf")
	w.Server.Run(t, "bash", "-c", `exec "$@" <`+right, "bash", netlab.Program("clients"), "add", "-registry", w.file("clients"), "-key", w.file("server.key"),
		"-server", w.Server.V4.String()+":5555", "-out", profile, "-password", "alice")
	s := w.server(t)

	p := w.Alice.Start(t, "bash", "-c", `exec "$@" <`+wrong, "bash", netlab.Program("client"), "-profile", profile)
	require.Equal(t, 1, p.Wait(t))
	require.Contains(t, p.Log(), "client: logging in: the server refuses: wrong user name or password\n")
	require.NotContains(t, p.Log(), "tunnel is up")

	time.Sleep(time.Second) // the throttle's first step
	p = w.Alice.Start(t, "bash", "-c", `exec "$@" <`+right, "bash", netlab.Program("client"), "-profile", profile)
	p.WaitLog(t, "tunnel is up")
	require.Equal(t, w.Server.V4.String(), whoami(t, w.Alice))
	interrupt(t, p, s)
	require.NotContains(t, s.Log()+p.Log(), "horse")
}
