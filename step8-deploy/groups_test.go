package step8_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/step8-deploy/control"
)

// The groups that an installation makes are those of the server's sockets, through the sandbox of the real units: a
// member of stepvpn-status may read, a member of stepvpn-admin may change, and a stranger may do neither.
func TestGroupsOfTheService(t *testing.T) {
	const reads, changes = "/run/stepvpn/server.sock", "/run/stepvpn/server-control.sock"
	w := newWorld(t)
	b := w.box(t)
	b.boot()
	b.run("sh", "-ec", `printf 'u reader -\nu changer -\nu stranger -\nm reader stepvpn-status\nm changer stepvpn-admin\n' | systemd-sysusers -`)
	b.run("stepvpn", "init", "server")
	start := func() {
		t.Helper()
		b.run("systemctl", "restart", "stepvpn-server")
	}
	as := func(user string, command ...string) (string, error) {
		return b.try(append([]string{"setpriv", "--reuid=" + user, "--regid=" + user, "--init-groups"}, command...)...)
	}
	list := func(user string) (string, error) { return as(user, "stepvpn", "clients", "list") }
	add := func(user, client string) (string, error) {
		return as(user, "stepvpn", "clients", "add", client, "-server", "vpn.example.org")
	}
	get := func(user string) (string, error) {
		return as(user, "curl", "-sSf", "--max-time", "30", "--unix-socket", reads, "http://x/v1/clients")
	}
	revoke := func(user, client string) (string, error) {
		return as(user, "curl", "-sSf", "--max-time", "30", "--unix-socket", changes, "-X", "POST", "http://x/v1/clients/"+client+"/revoke")
	}
	names := func() (names []string) {
		t.Helper()
		var all control.Clients
		require.NoError(t, json.Unmarshal([]byte(b.run("curl", "-sSf", "--unix-socket", reads, "http://x/v1/clients")), &all))
		for _, c := range all.Clients {
			names = append(names, c.Name)
		}
		return names
	}
	may := func(out string, err error) string {
		t.Helper()
		require.NoError(t, err, out)
		return out
	}
	mayNot := func(out string, err error) string {
		t.Helper()
		require.Error(t, err, out)
		return out
	}

	// Without the settings, only root may do anything.
	start()
	for _, user := range []string{"reader", "changer", "stranger"} {
		mayNot(list(user))
		mayNot(get(user))
		mayNot(add(user, "dave"))
	}

	b.run("sed", "-i", "-e", `s/^# status_group = .*/status_group = "stepvpn-status"/`, "-e", `s/^# control_group = .*/control_group = "stepvpn-admin"/`, "/etc/stepvpn/server.toml")
	start()
	require.Equal(t, "660 root stepvpn-admin", b.run("stat", "-c", "%a %U %G", changes))
	require.Equal(t, "stepvpn-status", b.run("stat", "-c", "%G", reads))
	require.Contains(t, may(add("changer", "carol")), "private_key")
	may(add("changer", "bob"))
	require.Contains(t, may(revoke("changer", "bob")), `"client":"bob"`)
	require.Equal(t, []string{"carol"}, names())
	require.Contains(t, may(list("reader")), "carol")
	require.Contains(t, may(get("reader")), `"carol"`)

	require.Contains(t, mayNot(add("reader", "dave")), "Members of the group stepvpn-admin may")
	mayNot(revoke("reader", "carol"))
	mayNot(get("changer"))
	require.Contains(t, mayNot(list("stranger")), "Members of the group stepvpn-status may")
	require.Contains(t, mayNot(add("stranger", "dave")), "Members of the group stepvpn-admin may")
	mayNot(get("stranger"))
	mayNot(revoke("stranger", "carol"))
	require.Equal(t, []string{"carol"}, names())

	// Nor may any of them go past the sockets.
	for _, user := range []string{"reader", "changer", "stranger"} {
		mayNot(as(user, "cat", "/etc/stepvpn/clients"))
		mayNot(as(user, "ls", "/var/lib/stepvpn/worker"))
	}
	require.Contains(t, b.run("cat", "/etc/stepvpn/clients"), "carol")
	require.Contains(t, strings.Join(strings.Fields(b.run("stepvpn", "clients", "list")), " "), "carol")
}
