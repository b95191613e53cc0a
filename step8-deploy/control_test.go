package step8_test

import (
	"encoding/json"
	"fmt"
	"os"
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

	status, answer = w.curl(t, "server-control.sock", "POST", "/v1/clients/alice/revoke", nil)
	require.Equal(t, "200", status, answer)
	client.WaitLog(t, "revoked")
	events.WaitLog(t, `"event":"disconnected","client":"alice"`)
	require.Contains(t, events.Log(), "the access of this client was revoked")
	require.Contains(t, events.Log(), `"event":"revoked","client":"alice"`)
	status, answer = w.curl(t, "server-control.sock", "GET", "/v1/audit", nil)
	require.Equal(t, "200", status, answer)
	require.Equal(t, 2, strings.Count(answer, `"client":"alice"`), answer)
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

var _ = netlab.Program
