package step8_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// serverBox makes the lab's server a machine with systemd, on which the server is installed.
// Alice has her settings. It is started, but not the server.
func (w *world) serverBox(t *testing.T) *box {
	t.Helper()
	if why, err := machine(t, "check"); err != nil {
		require.Contains(t, why, "What to do: ", "if no machine can be booted, the script says why")
		t.Skip(why)
	}
	clean := func() { require.NoError(t, os.RemoveAll("/run/lab/machines/server")) } // that another test has left
	clean()
	b := &box{t, w, must(t, "root", "server")}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := machine(t, "exec", "server", "journalctl", "--no-pager", "-o", "short-precise", "-u", "stepvpn-*")
			t.Logf("the server's journal:\n%s", log)
		}
		machine(t, "off", "server")
		clean()
	})
	b.install()
	must(t, "boot", "server")
	must(t, "exec", "server", "stepvpn", "init", "server")
	must(t, "exec", "server", "stepvpn", "clients", "add", "alice", "-server", w.Server.V4.String(), "-out", "/etc/stepvpn/alice.toml")
	text, err := os.ReadFile(b.path("etc/stepvpn/alice.toml"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(w.path("alice.toml"), text, 0o600))
	w.set(t, "alice.toml", "state", w.path("alice"), "status_socket", w.path("alice.sock"))
	return b
}

// gate is a drop-in of a unit that does not start until there is this file.
const gate = "[Service]\nExecStartPre=sh -c 'until [ -e /run/go ]; do sleep 0.1; done'\n"

// down ends a unit with a gate, by a command, and calls meanwhile before it lets it start again.
func down(t *testing.T, run func(string) string, unit, how string, meanwhile func()) {
	t.Helper()
	run("rm -f /run/go; " + how)
	netlab.Eventually(t, limit, unit+" has ended, and waits", func() bool {
		return run("systemctl show --property=SubState --value "+unit) == "start-pre"
	})
	meanwhile()
	run("touch /run/go")
}

// connection returns what the web site's kernel knows of its connection, "" if there is none.
func (w *world) connection(t *testing.T) string {
	t.Helper()
	return w.Web.Run(t, "ss", "-Htin", "state", "established", "sport", "=", ":80")
}

// sends waits until the web site has sent something by its connection: one that waits would
// not notice that it was lost.
func (w *world) sends(t *testing.T) {
	t.Helper()
	before := segments.FindString(w.connection(t))
	require.NotEmpty(t, before)
	netlab.Eventually(t, limit, "the web site sends", func() bool { return segments.FindString(w.connection(t)) != before })
}

var segments = regexp.MustCompile(`\bsegs_out:[0-9]+`)

// A download goes on over a restart of the server, and over a crash. After a stop, nothing is
// left.
func TestRestartKeepsConnections(t *testing.T) {
	w := newWorld(t)
	b := w.serverBox(t)
	run := func(line string) string {
		t.Helper()
		return must(t, "exec", "server", "timeout", "60", "sh", "-ec", line)
	}
	dropIn := func(unit, name, text string) {
		t.Helper()
		b.write("etc/systemd/system/"+unit+".service.d/"+name+".conf", text)
		run("systemctl daemon-reload")
	}
	const restart = "systemctl --no-block restart stepvpn-server"
	before := state(t, w.Server)
	dropIn("stepvpn-server", "gate", gate)
	run("touch /run/go")

	if long(t, "without the table") { // the detector sees that a restart resets connections
		dropIn("stepvpn-conntrack", "off", "[Service]\nExecStart=\nExecStart=false\n") // without it, a server starts, too
		run("systemctl start stepvpn-server")
		client := w.client(t)
		w.seenAs(t, w.Server.V4.String())
		file := w.download(t)
		require.NotEmpty(t, w.connection(t))
		down(t, run, "stepvpn-server", restart, func() {
			netlab.Eventually(t, limit, "the web site's connection is reset", func() bool { return w.connection(t) == "" })
		})
		file.reader.Kill()
		client.Interrupt()
		require.Zero(t, client.Wait(t), client.Log())
		run("systemctl stop stepvpn-server; rm /etc/systemd/system/stepvpn-conntrack.service.d/off.conf; systemctl daemon-reload")
	}

	run("systemctl start stepvpn-server")
	w.client(t)
	w.seenAs(t, w.Server.V4.String())
	file := w.download(t)
	sends := func() { w.sends(t) }
	down(t, run, "stepvpn-server", restart, sends)
	file.goesOn(t, "goes on after a restart")
	if long(t, "a crash") {
		down(t, run, "stepvpn-server", "systemctl kill --signal=KILL stepvpn-server", sends)
		file.goesOn(t, "goes on after a crash")

		// A server that can't be started is tried again and again; a stop ends that, and
		// what was held meanwhile.
		dropIn("stepvpn-server", "gate", "[Service]\nExecStartPre=false\n")
		run("systemctl restart stepvpn-server || true")
		require.Contains(t, run("nft list tables"), "table inet stepvpn_conntrack")
	}
	run("systemctl stop stepvpn-server")
	netlab.Eventually(t, limit, "nothing is left", func() bool { return state(t, w.Server) == before })
}

// When a client is restarted, a download goes on, as the server remembers its connections for
// a while.
func TestClientRestartKeepsConnections(t *testing.T) {
	w := newWorld(t)
	b := w.box(t)
	server := w.server(t)
	b.boot()
	run := func(line string) string { t.Helper(); return b.run("sh", "-ec", line) }
	b.dropIn("stepvpn-client.service", "gate", gate)
	run("touch /run/go")
	b.up()
	file := w.download(t)
	down(t, run, "stepvpn-client", "systemctl --no-block restart stepvpn-client", func() {
		for range 3 { // the server needs a moment to find that she has left
			w.sends(t)
		}
	})
	file.goesOn(t, "goes on after a restart of the client")
	require.NotContains(t, server.Log(), "could not clean up")
}
