package step8_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// nft puts a program in the place of nft, and returns a PATH in which it comes first.
func (w *world) nft(t *testing.T, script string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "nft"), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	return "PATH=" + dir + ":" + os.Getenv("PATH")
}

const nftFails = "echo 'Error: Could not process rule: Cannot allocate memory' >&2; exit 1"

// killed returns a client that was connected and got a SIGKILL.
func killed(t *testing.T) (w *world, before string) {
	w = newWorld(t)
	w.add(t, "alice")
	w.server(t)
	before = state(t, w.Alice)
	client := w.client(t)
	client.Kill()
	client.Wait(t)
	return w, before
}

// An nft that fails is not mistaken for one that has found nothing: 'recover' says so, and
// does its work once nft works.
func TestRecoverTellsThatNftFails(t *testing.T) {
	w, before := killed(t)
	out, err := w.Alice.Try("env", w.nft(t, nftFails), netlab.Program("stepvpn"), "recover", "-state", w.path("alice"))
	require.Error(t, err, "tables are left: %s", out)
	w.Alice.Run(t, netlab.Program("stepvpn"), "recover", "-state", w.path("alice"))
	require.Equal(t, before, state(t, w.Alice))
}

// If something can't be put back, everything that is closed stays closed. 'recover' says what
// is left, and does it once it can.
func TestRecoverAllOrNothing(t *testing.T) {
	w, before := killed(t)
	closed := func() bool { return w.whoami(w.Web.V4) == "" && w.whoami(w.Web.V6) == "" }
	for _, c := range []struct{ name, begin, end, says string }{
		{"resolv.conf", "mount -o remount,ro,bind /etc", "mount -o remount,rw,bind /etc", "/etc/resolv.conf"},
		{"nft", "", "", "Cannot allocate memory"},
	} {
		path := "PATH=" + os.Getenv("PATH")
		if c.name == "nft" {
			path = w.nft(t, nftFails)
		} else {
			w.Alice.Run(t, "sh", "-c", c.begin)
		}
		out, err := w.Alice.Try("env", path, netlab.Program("stepvpn"), "recover", "-state", w.path("alice"))
		require.Error(t, err, "%s: %s", c.name, out)
		require.Contains(t, out, c.says)
		require.Contains(t, out, "stays closed")
		require.Contains(t, out, "'stepvpn recover' does the rest")
		require.True(t, closed(), "%s: %s", c.name, out)
		rules := w.Alice.Run(t, "sh", "-c", "ip -4 rule; ip -6 rule")
		require.Contains(t, rules, "unreachable", c.name)
		if c.end != "" {
			w.Alice.Run(t, "sh", "-c", c.end)
		}
	}
	w.Alice.Run(t, netlab.Program("stepvpn"), "recover", "-state", w.path("alice"))
	require.Equal(t, before, state(t, w.Alice))
}

// If nft fails at boot, the switch is neither opened nor forgotten.
func TestBootWithoutNft(t *testing.T) {
	w, _ := killed(t)
	w.Alice.Run(t, "bash", "-ec", `nft flush ruleset
		for f in -4 -6; do
			ip $f rule flush
			ip $f rule add priority 32766 lookup main
		done`)
	w.Alice.Try("env", w.nft(t, nftFails), netlab.Program("stepvpn"), "killswitch", "close", "-state", w.path("alice"), w.path("alice.toml"))
	require.FileExists(t, filepath.Join(w.path("alice"), "killswitch.json"))
	require.Empty(t, w.whoami(w.Web.V4))
}

// A read-only state folder does not keep the host closed.
func TestRecoverReadOnly(t *testing.T) {
	w, _ := killed(t)
	w.Alice.Run(t, "mount", "--bind", w.path("alice"), w.path("alice"))
	w.Alice.Run(t, "mount", "-o", "remount,ro,bind", w.path("alice"))
	out, err := w.Alice.Try(netlab.Program("stepvpn"), "recover", "-state", w.path("alice"))
	require.Equal(t, w.Alice.V4.String(), w.whoami(w.Web.V4), "%v: %s", err, out)
}

// If the operator presses Ctrl-C twice, the host is open, or the program says what to do.
func TestInterruptedTwice(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	w.server(t)
	before := state(t, w.Alice)
	client := w.client(t)
	client.Signal(syscall.SIGINT)
	netlab.Eventually(t, limit, "it ends", func() bool {
		client.Signal(syscall.SIGINT)
		return client.Ended()
	})
	if state(t, w.Alice) != before {
		require.Contains(t, client.Log(), "recover")
	}
}

// A start that fails while the switch is closed says that it is closed.
func TestFailedStartTellsThatItIsClosed(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	require.NoError(t, os.MkdirAll(w.path("alice"), 0o777))
	require.NoError(t, os.Chmod(w.path("alice"), 0o777))
	client := w.start(t)
	require.Equal(t, 1, client.Wait(t), client.Log())
	if w.whoami(w.Web.V4) == "" {
		require.Contains(t, client.Log(), "recover")
	}
}

// Whichever unit the operator stops first, in the end the host is open.
func TestServiceStopped(t *testing.T) {
	w := newWorld(t)
	b := w.box(t)
	w.server(t)
	b.boot()
	before := state(t, w.Alice)
	nothing := func() {}
	for _, c := range []struct {
		name        string
		start, stop func()
	}{
		{"the switch alone", nothing, func() { b.try("systemctl", "stop", "stepvpn-killswitch") }},
		{"both, the switch first", nothing, func() { b.try("systemctl", "stop", "stepvpn-killswitch", "stepvpn-client") }},
		// In this case, the client's unit waits until systemd has tried the switch's unit again.
		{"when the switch's unit fails", func() {
			t.Cleanup(b.dropIn("stepvpn-killswitch.service", "fails", "[Service]\nExecStart=\nExecStart=/bin/false\nRestartSec=1h\n"))
		}, nothing},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.start()
			b.up()
			c.stop()
			b.run("systemctl", "stop", "stepvpn-client")
			netlab.Eventually(t, limit/4, "the host is open", func() bool { return w.whoami(w.Web.V4) == w.Alice.V4.String() })
			netlab.Eventually(t, limit/4, "it is as it was", func() bool { return state(t, w.Alice) == before })
		})
		b.try("stepvpn", "recover")
	}
}
