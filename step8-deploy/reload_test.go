package step8_test

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// On SIGHUP, a client reads its settings again, without ending the session. Settings that
// can't be read change nothing, and the client says so.
func TestReload(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	w.neighbours(t)
	server := w.server(t)
	client := w.client(t)
	w.seenAs(t, w.Server.V4.String())
	eyes := w.watch(t, "reloaded, with the same settings", false)
	ups := func() int { return strings.Count(client.Log(), "tunnel is up") }
	bob := func(reached bool) {
		t.Helper()
		netlab.Eventually(t, limit, fmt.Sprintf("bob is reached: %v", reached), func() bool {
			_, err := w.Alice.Try("ping", "-c1", "-W1", "192.168.44.11")
			return reached == (err == nil)
		})
	}
	reload := func() {
		t.Helper()
		client.Signal(syscall.SIGHUP)
		require.False(t, client.Ended(), client.Log())
	}
	for range 5 {
		reload()
		w.seenAs(t, w.Server.V4.String())
	}
	bob(true)
	assert.Equal(t, 1, ups(), "the session goes on:\n%s", client.Log())
	eyes.phase("reloaded, with lan = none", false)
	w.lan(t, "none")
	reload()
	netlab.Eventually(t, limit, "bob is not reached any more", func() bool {
		_, err := w.Alice.Try("ping", "-c1", "-W1", "192.168.44.11")
		return err != nil
	})
	w.lan(t, "private")
	reload()
	bob(true)
	w.seenAs(t, w.Server.V4.String())

	// If a file has a typo, none of its lines counts.
	eyes.phase("reloaded, with a typo", false)
	text, err := os.ReadFile(w.path("alice.toml"))
	require.NoError(t, err)
	broken := strings.Replace(string(text), `lan = "private"`, `lan = "none"`, 1) + "nonsense = [\n"
	require.NoError(t, os.WriteFile(w.path("alice.toml"), []byte(broken), 0o600))
	reload()
	client.WaitLog(t, fmt.Sprintf("alice.toml:%d: ", strings.Count(broken, "\n")))
	eyes.more(20)
	bob(true)
	require.NoError(t, os.Remove(w.path("alice.toml")))
	said := strings.Count(client.Log(), "alice.toml")
	reload()
	netlab.Eventually(t, limit, "it says that the file is gone", func() bool { return strings.Count(client.Log(), "alice.toml") > said })
	eyes.more(20)
	bob(true)
	w.seenAs(t, w.Server.V4.String())
	require.NoError(t, os.WriteFile(w.path("alice.toml"), text, 0o600))

	// Fewer networks go through the tunnel, and then more again.
	eyes.phase("reloaded, with routes", true)
	w.set(t, "alice.toml", "routes", []string{netip.PrefixFrom(w.Web.V4, 27).Masked().String()})
	reload()
	netlab.Eventually(t, limit, "IPv6 goes past the tunnel", func() bool { return w.whoami(w.Web.V6) == w.Alice.V6.String() })
	w.seenAs(t, w.Server.V4.String())
	w.set(t, "alice.toml", "routes", "everything")
	reload()
	netlab.Eventually(t, limit, "all goes through the tunnel", func() bool { return w.whoami(w.Web.V6) == w.Server.V6.String() })
	eyes.phases[len(eyes.phases)-1].some = true
	eyes.phase("reloaded, with routes again", false)
	eyes.more(20)
	require.NotContains(t, client.Log(), "does not answer")

	if long(t, "another server takes over") {
		w.set(t, "alice.toml", "server", []string{w.Server.V4.String() + ":5555", w.Internet.V4.String() + ":5555"})
		reload()
		w.seenAs(t, w.Server.V4.String())
		server.Interrupt() // it tells its clients that it goes
		server.Wait(t)
		w.set(t, "server.toml", "state", t.TempDir(), "egress", "web0", "status_socket", "", "dns_upstreams", []string{w.Web.V4.String()})
		w.serve(t, w.Internet)
		w.seenAs(t, "203.0.113.65")
	}
	eyes.verdict()
	client.Interrupt()
	require.Zero(t, client.Wait(t), client.Log())
}

// SIGHUP does not end a client without a server, either. The client uses the server that it
// reads then.
func TestReloadWithoutServer(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice", "server", w.Internet.V4.String()+":5555") // where no server is
	client := w.start(t)
	running := func() bool {
		_, err := w.Alice.Try(netlab.Program("stepvpn"), "status", "-socket", w.path("alice.sock"))
		return err == nil
	}
	netlab.Eventually(t, limit, "the client runs", running)
	eyes := w.watch(t, "without a server", false)
	for range 5 {
		client.Signal(syscall.SIGHUP)
		require.True(t, running(), client.Log())
	}
	w.server(t)
	w.set(t, "alice.toml", "server", w.Server.V4.String()+":5555")
	client.Signal(syscall.SIGHUP)
	w.seenAs(t, w.Server.V4.String())
	eyes.verdict()
}

// After a reload, keepalives come as often as the settings say. This can only be measured over
// time.
func TestReloadKeepalive(t *testing.T) {
	takesLong(t)
	w := newWorld(t)
	w.add(t, "alice", "keepalive", "10m")
	w.server(t)
	client := w.client(t)
	w.seenAs(t, w.Server.V4.String())
	// heard returns how many packets an idle alice sends in some time.
	heard := func() int {
		beats := w.Cafe.Capture(t, "br0", fmt.Sprintf("udp dst port 5555 and src host %v", w.Alice.V4))
		time.Sleep(12 * time.Second)
		return len(beats.Stop())
	}
	w.seenAs(t, w.Server.V4.String())
	before := heard()
	w.set(t, "alice.toml", "keepalive", "5s")
	client.Signal(syscall.SIGHUP)
	require.Greater(t, heard(), before)
}

// The keeper carries out what the settings say about this host, whatever the worker does, but
// not before the operator asks for it.
func TestReloadWithoutWorker(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice", "kill_switch", false)
	w.server(t)
	client := w.client(t)
	closed := func() bool { return strings.Contains(w.Alice.Run(t, "nft", "list", "tables"), "stepvpn_killswitch") }
	w.set(t, "alice.toml", "kill_switch", true)
	w.Alice.Run(t, "kill", "-KILL", worker(t, w.Alice, client))
	netlab.Eventually(t, limit, "there is another worker", func() bool { return strings.Count(client.Log(), "connected") > 1 })
	require.False(t, closed(), "the operator has not asked for it")

	pid := worker(t, w.Alice, client)
	w.Alice.Run(t, "kill", "-STOP", pid)
	client.Signal(syscall.SIGHUP)
	netlab.Eventually(t, limit, "the kill switch is closed", closed)
	w.Alice.Run(t, "kill", "-CONT", pid)
	w.seenAs(t, w.Server.V4.String())
	client.Interrupt()
	require.Zero(t, client.Wait(t), client.Log())
	require.False(t, closed())
}
