package control

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"stepvpn/step8-deploy/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func report() *status.Report {
	return &status.Report{
		Role: "server", Version: "v1", Now: now, Started: now.Add(-26 * time.Hour), State: "up", Device: "vpn0", MTU: 1420,
		Peers: []status.Peer{{Name: "alice", Addresses: []netip.Addr{netip.MustParseAddr("10.8.0.2")}, Sent: status.Flow{Packets: 7, Bytes: 12_345}}},
		Drops: map[string]uint64{"replayed": 2, "no-peer": 0},
	}
}

func socket(t *testing.T) string { return filepath.Join(t.TempDir(), "s.sock") }

// listen makes a status socket.
func listen(path string) (*net.UnixListener, error) { return Socket{Path: path, Name: Status}.Listen() }

// serve serves a report, and more.
func serve(t *testing.T, path string, report func() *status.Report, more ...Route) (stop func() error) {
	t.Helper()
	l, err := listen(path)
	require.NoError(t, err)
	s := Serve(l, append(more, Route{Pattern: "GET /status", Do: func(*Request) (any, error) { return report(), nil }}))
	stop = sync.OnceValue(s.Close)
	t.Cleanup(func() { stop() })
	return stop
}

func TestQuery(t *testing.T) {
	path := socket(t)
	stop := serve(t, path, report)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o660), info.Mode().Perm())
	for range 3 {
		r, err := QueryStatus(t.Context(), path)
		require.NoError(t, err)
		require.Equal(t, report(), r)
	}
	_, err = listen(path)
	require.EqualError(t, err, "status socket: another daemon has "+path)
	require.NoError(t, stop())
	_, err = QueryStatus(t.Context(), path)
	require.EqualError(t, err, "no daemon answers at "+path)
}

// The socket of a killed daemon is replaced, but no other file.
func TestStaleSocket(t *testing.T) {
	path := socket(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	l.Close()
	require.NoError(t, os.WriteFile(path+".new", nil, 0o600))
	_, err = QueryStatus(t.Context(), path)
	require.EqualError(t, err, "no daemon answers at "+path)
	serve(t, path, report)()

	require.NoError(t, os.Remove(path))
	require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
	_, err = listen(path)
	require.EqualError(t, err, "status socket: "+path+" is there, and is no socket")
	_, err = listen(filepath.Join(path, "x.sock")) // below a file
	require.ErrorContains(t, err, "not a directory")
}

// A client of the socket that does not read, or sends much, does not keep others from asking.
func TestRudeReaders(t *testing.T) {
	big := report()
	big.Peers = make([]status.Peer, 3_000) // more than a socket's buffers hold
	path := socket(t)
	serve(t, path, func() *status.Report { return big })
	for range 7 {
		c, err := net.Dial("unix", path)
		require.NoError(t, err)
		defer c.Close()
		c.Write([]byte(strings.Repeat("x", 1000)))
	}
	r, err := QueryStatus(t.Context(), path)
	require.NoError(t, err)
	require.Len(t, r.Peers, 3_000)
}

// A daemon may say nothing, or nonsense.
func TestQueryRefuses(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
	for answer, want := range map[string]string{
		"": "EOF", "{": "malformed HTTP", `{"role":"server"}`: "malformed HTTP", // as a version before this API answered
		ok + "{": "unexpected EOF", ok + "[]": "cannot unmarshal", ok + `{"peers":[{"endpoint":"x"}]}`: "not an ip:port",
		"HTTP/1.1 500 X\r\nConnection: close\r\n\r\nx": "Internal Server Error", "HTTP/1.1 302 X\r\nLocation: /v1/x\r\nConnection: close\r\n\r\nx": "Found",
	} {
		path := socket(t)
		l, err := net.Listen("unix", path)
		require.NoError(t, err)
		go func() {
			c, err := l.Accept()
			if err == nil {
				c.Read(make([]byte, 1000))
				io.WriteString(c, answer)
				c.Close()
			}
		}()
		_, err = QueryStatus(t.Context(), path)
		require.ErrorContains(t, err, "the answer at "+path+" can't be understood: ", answer)
		require.ErrorContains(t, err, want)
		l.Close()
	}
	path := socket(t)
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	_, err = QueryStatus(ctx, path)
	require.Error(t, err)
}
