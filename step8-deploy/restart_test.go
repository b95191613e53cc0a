package step8_test

import (
	"os"
	"strings"
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

// A download goes on over a restart of the server, a crash, and a flush of the firewall before
// a restart. After a stop, nothing is left.
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
	// The web site must send something while there is no server: a connection that waits notices nothing.
	dropIn("stepvpn-server", "slow", "[Service]\nExecStartPre=sleep 2\n")
	before := state(t, w.Server)

	// The detector: without the table, a restart resets the connection.
	dropIn("stepvpn-conntrack", "off", "[Service]\nExecStart=\nExecStart=true\n")
	run("systemctl start stepvpn-server")
	w.client(t)
	w.seenAs(t, w.Server.V4.String())
	file := w.download(t)
	run("systemctl restart stepvpn-server")
	netlab.Eventually(t, limit, "the download is reset", func() bool {
		return strings.Contains(file.reader.Log(), "Connection reset by peer")
	})
	run("systemctl stop stepvpn-server; rm /etc/systemd/system/stepvpn-conntrack.service.d/off.conf; systemctl daemon-reload; systemctl start stepvpn-server")

	w.seenAs(t, w.Server.V4.String())
	file = w.download(t)
	for _, how := range []string{"systemctl restart stepvpn-server", "systemctl kill --signal=KILL stepvpn-server"} {
		main := func() string { return run("systemctl show --property=MainPID --value stepvpn-server") }
		was := main()
		run(how)
		netlab.Eventually(t, limit, how+": it is up again", func() bool {
			return main() != was && run("systemctl is-active stepvpn-server || true") == "active"
		})
		file.goesOn(t, "goes on: "+how)
	}
	run("systemctl stop stepvpn-server")
	netlab.Eventually(t, limit, "nothing is left", func() bool { return state(t, w.Server) == before })
}
