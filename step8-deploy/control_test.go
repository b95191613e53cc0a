package step8_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step8-deploy/control"
)

// curl sends a request to a socket as curl(1) does, and returns the status and the answer.
func (w *world) curl(t *testing.T, socket, method, path string, body any) (status, answer string) {
	t.Helper()
	args := []string{"-sS", "--max-time", "60", "--unix-socket", w.path(socket), "-X", method, "-w", "\n%{http_code}", "http://stepvpn" + path}
	if body != nil {
		text, err := json.Marshal(body)
		require.NoError(t, err)
		args = append(args, "-d", string(text))
	}
	out := w.Server.Run(t, "curl", args...)
	i := strings.LastIndex(out, "\n")
	return strings.TrimSpace(out[i+1:]), out[:i]
}

// Whoever may use the two sockets can do everything with curl: a client that is added comes in, events
// tell that, and it is cut off when it is revoked.
func TestControlSockets(t *testing.T) {
	w := newWorld(t)
	server := w.server(t)
	events := w.Server.Start(t, "curl", "-sSN", "--unix-socket", w.path("server.sock"), "http://stepvpn/v1/events?after=0")
	status, answer := w.curl(t, "server-control.sock", "POST", "/v1/clients", control.AddRequest{Name: "alice", Server: w.Server.V4.String()})
	require.Equal(t, "200", status, answer)
	var added control.Change
	require.NoError(t, json.Unmarshal([]byte(answer), &added))
	require.Equal(t, "alice", added.Client)
	require.True(t, added.Settings)
	require.NoError(t, os.WriteFile(w.path("alice.toml"), []byte(added.File), 0o600))
	w.set(t, "alice.toml", "state", w.path("alice"), "status_socket", w.path("alice.sock"))
	events.WaitLog(t, fmt.Sprintf(`"event":"added","client":"alice","by":{"uid":%d,`, os.Getuid()))
	client := w.client(t)
	w.seenAs(t, w.Server.V4.String())
	events.WaitLog(t, `"event":"connected","client":"alice"`)

	status, answer = w.curl(t, "server.sock", "GET", "/v1/clients", nil)
	require.Equal(t, "200", status, answer)
	var list control.Clients
	require.NoError(t, json.Unmarshal([]byte(answer), &list))
	require.Len(t, list.Clients, 1)
	require.Equal(t, added.Registry, list.Registry)
	require.NotNil(t, list.Clients[0].Session)
	require.Equal(t, w.Alice.V4, list.Clients[0].Session.Endpoint.Addr())
	require.NotZero(t, list.Clients[0].Session.Received.Bytes)

	status, answer = w.curl(t, "server-control.sock", "POST", "/v1/clients/alice/limit", control.Limit{Down: "20Mbit/s", Quota: "100GB/month"})
	require.Equal(t, "200", status, answer)
	events.WaitLog(t, `"event":"limited","client":"alice","by":{"uid":`)
	require.Contains(t, events.Log(), `"detail":"down=20Mbit/s quota=100GB/month"`)
	netlab.Eventually(t, limit, "a limit is in force for the session that there is", func() bool {
		_, answer := w.curl(t, "server.sock", "GET", "/v1/clients", nil)
		var list control.Clients
		require.NoError(t, json.Unmarshal([]byte(answer), &list))
		one := list.Clients[0]
		return one.LimitDown == 20e6 && one.Session != nil && one.Session.LimitDown == 20e6 && one.Quota != nil && one.Quota.Bytes == 100e9
	})

	status, answer = w.curl(t, "server-control.sock", "POST", "/v1/clients/alice/revoke", nil)
	require.Equal(t, "200", status, answer)
	client.WaitLog(t, "revoked")
	events.WaitLog(t, `"event":"disconnected","client":"alice"`)
	require.Contains(t, events.Log(), "the access of this client was revoked")
	require.Contains(t, events.Log(), `"event":"revoked","client":"alice"`)
	status, answer = w.curl(t, "server-control.sock", "GET", "/v1/audit", nil)
	require.Equal(t, "200", status, answer)
	require.Equal(t, 3, strings.Count(answer, `"client":"alice"`), answer)
	client.Interrupt()
	client.Wait(t)

	// The socket that reads changes nothing.
	for _, c := range []struct{ socket, method, path, status, says string }{
		{"server.sock", "POST", "/v1/clients", "405", "use GET"},
		{"server.sock", "POST", "/v1/clients/alice/revoke", "404", "One socket only reads"},
		{"server-control.sock", "GET", "/v1/status", "404", "One socket only reads"},
		{"server.sock", "GET", "/v2/status", "404", "is not a version of this API"},
	} {
		status, answer := w.curl(t, c.socket, c.method, c.path, nil)
		require.Equal(t, c.status, status, answer)
		require.Contains(t, answer, c.says)
	}
	server.Interrupt()
	require.Zero(t, server.Wait(t), server.Log())
	require.NoFileExists(t, w.path("server-control.sock"))
	events.Interrupt()
	events.Wait(t)
}

// userIn returns the beginning of a command that another user runs, who is in these groups.
func userIn(uid int, groups string) []string {
	id := fmt.Sprint(uid)
	return []string{"--reuid", id, "--regid", id, "--groups", groups}
}

// Who is in the group of a socket may use it, by curl and by 'stepvpn clients'; who is not gets a line that names the
// group. The worker's user may not change anything, whatever its groups are.
func TestSocketGroups(t *testing.T) {
	const games, daemon = "60", "1" // groups of every Debian
	w := newWorld(t)
	if out, err := w.Server.Try("setpriv", append(userIn(22506, games), "true")...); err != nil {
		t.Skipf("an ordinary user runs this, and there is only one user: %s", out)
	}
	server := w.server(t, "control_group", "games", "status_group", "daemon")
	require.NoError(t, os.Chmod(w.dir, 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(w.dir), 0o755))
	w.Server.Run(t, "cp", netlab.Program("stepvpn"), w.path("stepvpn")) // where other users may run it
	home := w.path("home")
	require.NoError(t, os.Mkdir(home, 0o777))
	require.NoError(t, os.Chmod(home, 0o777))
	try := func(uid int, groups string, command ...string) (string, error) {
		return w.Server.Try("setpriv", append(userIn(uid, groups), command...)...)
	}
	add := func(uid int, groups, name string) (string, error) {
		return try(uid, groups, w.path("stepvpn"), "clients", "add", name, "-socket", w.path("server-control.sock"), "-server", "vpn.example.org", "-out", home+"/"+name+".toml")
	}
	revoke := []string{"curl", "-sS", "--unix-socket", w.path("server-control.sock"), "-X", "POST", "http://x/v1/clients/alice/revoke"}
	status := []string{w.path("stepvpn"), "status", "-socket", w.path("server.sock")}

	out, err := add(1234, daemon, "alice")
	require.Error(t, err)
	require.Equal(t, "stepvpn: you may not connect to "+w.path("server-control.sock")+"\n  Members of the group games may, and root: 'sudo usermod -aG games USER' adds a user, who has to log in again.\n", out)
	out, err = try(1234, daemon, revoke...)
	require.Error(t, err, out)
	out, err = try(1234, daemon, status...)
	require.NoError(t, err, out)
	out, err = try(1234, games, status...)
	require.Error(t, err, out)
	require.Contains(t, out, "Members of the group daemon may")

	out, err = add(1234, games, "alice")
	require.NoError(t, err, out)
	require.Equal(t, "600 1234\n", w.Server.Run(t, "stat", "-c", "%a %u", home+"/alice.toml"), "the file is the user's own")
	out, err = try(1234, games, w.path("stepvpn"), "clients", "expire", "alice", "2030-01-01", "-socket", w.path("server-control.sock"))
	require.NoError(t, err, out)
	require.Equal(t, "alice: is refused from 2030-01-01T00:00:00Z on.\n", out)
	out, err = try(1234, games, w.path("stepvpn"), "clients", "limit", "alice", "-up", "5Mbit/s", "-socket", w.path("server-control.sock"))
	require.NoError(t, err, out)
	require.Equal(t, "alice: down none, up 5Mbit/s, quota none\n", out)
	out, err = try(1234, games, w.path("stepvpn"), "clients", "limit", "alice", "-up", "5M", "-socket", w.path("server-control.sock"))
	require.Error(t, err, out)
	require.Contains(t, out, "-up: it is \"5M\", which is not clear")
	out, err = try(1234, daemon, w.path("stepvpn"), "clients", "list", "-socket", w.path("server.sock"))
	require.NoError(t, err, out)
	require.Regexp(t, `(?m)^alice .* 2030-01-01T00:00:00Z +no +never +up 5Mbit/s$`, out)

	// The worker's user, in the group or not.
	before, err := os.ReadFile(w.path("clients"))
	require.NoError(t, err)
	for _, groups := range []string{"22506", games, "0"} {
		out, err = try(22506, groups, revoke...)
		require.Error(t, err, out)
		out, err = try(22506, groups, "sh", "-c", "echo >>"+w.path("clients"))
		require.Error(t, err, out)
	}
	after, err := os.ReadFile(w.path("clients"))
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
	out, err = try(1234, games, revoke...)
	require.NoError(t, err, "the detector works: %s", out)
	require.Contains(t, out, `"client":"alice"`)
	server.Interrupt()
	require.Zero(t, server.Wait(t), server.Log())
}

// A keeper that is killed in the middle of additions leaves a registry that is whole, with everybody whose addition was answered.
func TestKeeperIsKilledWhileItAdds(t *testing.T) {
	w := newWorld(t)
	server := w.server(t)
	adding := w.Server.Start(t, "bash", "-c", fmt.Sprintf(`for i in $(seq 1000); do
		curl -sS --fail --unix-socket %s http://x/v1/clients -d '{"name":"c'$i'","server":"a:1"}' >/dev/null && echo "added c$i" || exit 0
	done`, w.path("server-control.sock")))
	adding.WaitLog(t, "added c5")
	server.Kill()
	server.Wait(t)
	adding.Wait(t)
	list := w.stepvpn(t, "clients", "list", "-settings", w.path("server.toml"))
	added := regexp.MustCompile(`(?m)added (c\d+)$`).FindAllStringSubmatch(adding.Log(), -1)
	require.GreaterOrEqual(t, len(added), 5)
	for _, name := range added {
		require.Contains(t, list, "\n"+name[1]+" ")
	}
	server = w.serve(t, w.Server)
	w.stepvpn(t, "clients", "revoke", "c1", "-settings", w.path("server.toml"))
	server.Interrupt()
	require.Zero(t, server.Wait(t), server.Log())
}
