package step8_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// A box is alice as a machine with systemd. The program is installed on it, with its units and
// settings, as an operator does it.
type box struct {
	t    *testing.T
	w    *world
	root string // where its files are, seen from outside
}

// box makes a box, which has not booted yet.
func (w *world) box(t *testing.T) *box {
	t.Helper()
	if why, err := machine(t, "check"); err != nil {
		require.Contains(t, why, "What to do: ", "if no machine can be booted, the script says why")
		t.Skip(why)
	}
	clean := func() { require.NoError(t, os.RemoveAll("/run/lab/machines/alice")) } // that another test has left
	clean()
	b := &box{t, w, must(t, "root", "alice")}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := b.try("journalctl", "--no-pager", "-o", "short-precise", "-u", "stepvpn-*", "-u", "systemd-networkd", "-n", "150")
			t.Logf("alice's journal:\n%s", log)
			now, _ := b.try("sh", "-c", "stepvpn status; ip -4 rule; ip -6 rule; ip -4 route; ip -6 route; networkctl status eth0; nft list ruleset")
			t.Logf("alice now:\n%s", now)
		}
		machine(t, "off", "alice")
		clean()
	})
	b.install()
	w.add(t, "alice", "state", "/var/lib/stepvpn", "status_socket", "/run/stepvpn/client.sock")
	text, err := os.ReadFile(w.path("alice.toml"))
	require.NoError(t, err)
	b.write("etc/stepvpn/client.toml", string(text))
	return b
}

// install runs 'make install', for the first time or as an update.
func (b *box) install() {
	b.t.Helper()
	cmd := exec.Command("make", "--silent", "install", "DESTDIR="+b.root)
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
	out, err := cmd.CombinedOutput()
	require.NoError(b.t, err, "%s", out)
}

func (b *box) path(name string) string { return filepath.Join(b.root, name) }

// settings returns the path of the client's file of settings.
func (b *box) settings() string { return b.path("etc/stepvpn/client.toml") }

func (b *box) write(name, text string) {
	b.t.Helper()
	require.NoError(b.t, os.MkdirAll(filepath.Dir(b.path(name)), 0o755))
	require.NoError(b.t, os.WriteFile(b.path(name), []byte(text), 0o600))
	if !strings.HasPrefix(name, "etc/stepvpn/") {
		require.NoError(b.t, os.Chmod(b.path(name), 0o644))
	}
}

// dropIn adds lines to one of our units.
func (b *box) dropIn(unit, name, text string) (remove func()) {
	b.t.Helper()
	file := "etc/systemd/system/" + unit + ".d/" + name + ".conf"
	b.write(file, text)
	b.run("systemctl", "daemon-reload")
	return func() {
		require.NoError(b.t, os.Remove(b.path(file)))
		b.run("systemctl", "daemon-reload")
	}
}

func (b *box) boot() { b.t.Helper(); must(b.t, "boot", "alice") }

// try runs a command, for a minute at most.
func (b *box) try(command ...string) (string, error) {
	return machine(b.t, append([]string{"exec", "alice", "timeout", "60"}, command...)...)
}

func (b *box) run(command ...string) string {
	b.t.Helper()
	out, err := b.try(command...)
	require.NoError(b.t, err, "%s: %s", strings.Join(command, " "), out)
	return out
}

// of returns a property of the client's service, or "" if systemd does not answer.
func (b *box) of(property string) string {
	out, _ := b.try("systemctl", "show", "--property="+property, "--value", "stepvpn-client")
	return out
}

// restarts returns how often systemd itself has restarted the client.
func (b *box) restarts() int {
	n, _ := strconv.Atoi(b.of("NRestarts"))
	return n
}

// status returns the output of 'stepvpn status', or "" if no client answers.
func (b *box) status(flags ...string) string {
	out, err := b.try(append([]string{"stepvpn", "status"}, flags...)...)
	if err != nil {
		return ""
	}
	return out
}

// up starts the service, if it does not run, and waits for the tunnel. (A start joins one that
// systemd has already begun, perhaps with settings that were corrected since.)
func (b *box) up() {
	b.t.Helper()
	netlab.Eventually(b.t, limit, "the service starts", func() bool {
		_, err := b.try("systemctl", "start", "stepvpn-client")
		return err == nil
	})
	b.w.seenAs(b.t, b.w.Server.V4.String())
}

// kill sends the daemon a SIGKILL.
func (b *box) kill() {
	b.t.Helper()
	b.run("systemctl", "kill", "--signal=KILL", "stepvpn-client")
}

// lose stops the server, which tells its clients that it goes.
func (b *box) lose(server *netlab.Process) {
	b.t.Helper()
	server.Interrupt()
	server.Wait(b.t)
	netlab.Eventually(b.t, limit, "the client is without a server", func() bool {
		out := b.status()
		return out != "" && !strings.Contains(out, "client: up (")
	})
}
