package step8_test

import (
	"os"
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
	before := state(t, w.Server)
	// The web site must send something while there is no server: a connection that waits
	// notices nothing.
	dropIn("stepvpn-server", "slow", "[Service]\nExecStartPre=sleep 1\n")

	if long(t, "without the table") { // the detector sees that a restart resets connections
		dropIn("stepvpn-conntrack", "off", "[Service]\nExecStart=\nExecStart=true\n")
		run("systemctl start stepvpn-server")
		client := w.client(t)
		w.seenAs(t, w.Server.V4.String())
		file := w.download(t)
		known := func() string { return w.Web.Run(t, "ss", "-Htn", "state", "established", "sport", "=", ":80") }
		require.NotEmpty(t, known())
		run("systemctl restart stepvpn-server")
		netlab.Eventually(t, limit, "the web site's connection is reset", func() bool { return known() == "" })
		file.reader.Kill()
		client.Interrupt()
		require.Zero(t, client.Wait(t), client.Log())
		run("systemctl stop stepvpn-server; rm /etc/systemd/system/stepvpn-conntrack.service.d/off.conf; systemctl daemon-reload")
	}

	run("systemctl start stepvpn-server")
	w.client(t)
	w.seenAs(t, w.Server.V4.String())
	file := w.download(t)
	run("systemctl restart stepvpn-server")
	file.goesOn(t, "goes on after a restart")
	if long(t, "a crash") {
		main := func() string { return run("systemctl show --property=MainPID --value stepvpn-server") }
		was := main()
		run("systemctl kill --signal=KILL stepvpn-server")
		netlab.Eventually(t, limit, "it is up again", func() bool {
			return main() != was && run("systemctl is-active stepvpn-server || true") == "active"
		})
		file.goesOn(t, "goes on after a crash")

		// A server that can't be started is tried again and again; a stop ends that, and
		// what was held meanwhile.
		dropIn("stepvpn-server", "slow", "[Service]\nExecStartPre=false\n")
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
	w.server(t)
	b.boot()
	b.dropIn("stepvpn-client.service", "slow", "[Service]\nExecStartPre=sleep 1\n") // the web site sends something meanwhile
	b.up()
	file := w.download(t)
	b.run("systemctl", "restart", "stepvpn-client")
	file.goesOn(t, "goes on after a restart of the client")
}
