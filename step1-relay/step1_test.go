// Package step1 tests the relay as it is built, between hosts of the lab.
package step1

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m, "./cmd/relay") }

const limit = 30 * time.Second

// startRelay runs the program on the server, ready for connections.
func startRelay(t *testing.T, lab *netlab.Lab, flags ...string) *netlab.Process {
	t.Helper()
	relay := lab.Server.Start(t, netlab.Program("relay"), flags...)
	relay.WaitLog(t, "listening")
	return relay
}

// dial connects from a host to the relay.
func dial(t *testing.T, lab *netlab.Lab, from *netlab.Host, to netip.Addr) *net.TCPConn {
	t.Helper()
	var conn *net.TCPConn
	var err error
	from.Do(func() {
		conn, err = net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(netip.AddrPortFrom(to, lab.Port)))
	})
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(limit)))
	return conn
}

func randomBytes(n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(data)
	return data
}

// 1 MB each way at the same time, over IPv4 and IPv6, and then Ctrl-C.
func TestRelay(t *testing.T) {
	lab := netlab.New(t)
	relay := startRelay(t, lab)
	for id, server := range []netip.Addr{lab.Server.V4, lab.Server.V6} {
		data := randomBytes(2 << 20)
		a, b := dial(t, lab, lab.Alice, server), dial(t, lab, lab.Bob, server)
		sent := make(chan error, 2)
		for conn, part := range map[*net.TCPConn][]byte{a: data[:1<<20], b: data[1<<20:]} {
			go func() {
				_, err := conn.Write(part)
				conn.CloseWrite()
				sent <- err
			}()
		}
		fromB, err := io.ReadAll(a)
		require.NoError(t, err)
		fromA, err := io.ReadAll(b)
		require.NoError(t, err)
		require.NoError(t, <-sent)
		require.NoError(t, <-sent)
		require.True(t, bytes.Equal(data, append(fromA, fromB...)), "the bytes are others")

		line := fmt.Sprintf(`(?m)^[\d:.]+ pair %d  A->B +\d+ bytes, total %d$`, id+1, 1<<20)
		netlab.Eventually(t, limit, "a line with the total", func() bool {
			return regexp.MustCompile(line).MatchString(relay.Log())
		})
		relay.WaitLog(t, fmt.Sprintf("finished pair=%d A->B=%d B->A=%d", id+1, 1<<20, 1<<20))
	}

	a, waits := dial(t, lab, lab.Alice, lab.Server.V4), dial(t, lab, lab.Bob, lab.Server.V4)
	_, err := a.Write([]byte("x"))
	require.NoError(t, err)
	_, err = waits.Read(make([]byte, 1))
	require.NoError(t, err)
	relay.Interrupt()
	require.Zero(t, relay.Wait(t), "exit code after Ctrl-C:\n%s", relay.Log())
	_, err = a.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotContains(t, relay.Log(), "panic")
}

// Programs that others wrote work through the relay as they are.
func TestSocatAndCurl(t *testing.T) {
	lab := netlab.New(t)
	relay := startRelay(t, lab)
	server := fmt.Sprintf("%v:%d", lab.Server.V4, lab.Port)

	t.Run("a file whose sender is gone before the receiver comes", func(t *testing.T) {
		dir := t.TempDir()
		in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
		data := randomBytes(64<<10 + 1)
		require.NoError(t, os.WriteFile(in, data, 0o600))
		lab.Alice.Run(t, "socat", "-u", "OPEN:"+in, "TCP:"+server)
		lab.Bob.Run(t, "socat", "-u", "TCP:"+server, "CREATE:"+out)
		got, err := os.ReadFile(out)
		require.NoError(t, err)
		require.Equal(t, sha256.Sum256(data), sha256.Sum256(got))
		relay.WaitLog(t, "finished pair=1")
	})
	t.Run("a web site by way of bob", func(t *testing.T) {
		site := lab.Web.ServeSite(t)
		lab.Bob.Start(t, "socat", "TCP:"+server, fmt.Sprintf("TCP:%v:80", lab.Web.V4))
		relay.WaitLog(t, "waiting for a partner from="+lab.Bob.V4.String())
		page := lab.Alice.Run(t, "curl", "-sS", "--max-time", "30", "http://"+server+"/whoami")
		require.Equal(t, lab.Bob.V4.String()+"\n", page)
		require.True(t, site.Visited(lab.Bob.V4.String()))
	})
}

// A client without a partner is told so.
func TestWait(t *testing.T) {
	lab := netlab.New(t)
	startRelay(t, lab, "-wait", "100ms", "-max-pairs", "1")
	got, err := io.ReadAll(dial(t, lab, lab.Alice, lab.Server.V4))
	require.NoError(t, err)
	require.Equal(t, "relay: no partner came within 100ms\n", string(got))
}

func TestHex(t *testing.T) {
	lab := netlab.New(t)
	relay := startRelay(t, lab, "-hex")
	a := dial(t, lab, lab.Alice, lab.Server.V4)
	dial(t, lab, lab.Bob, lab.Server.V4)
	_, err := a.Write([]byte("secret"))
	require.NoError(t, err)
	relay.WaitLog(t, "total 6\n00000000  73 65 63 72 65 74                                 |secret|\n")
}

// A sender that is faster than its reader costs the relay no memory.
func TestSlowReaderCostsNoMemory(t *testing.T) {
	const size = 256 << 20
	lab := netlab.New(t)
	relay := startRelay(t, lab)
	a, b := dial(t, lab, lab.Alice, lab.Server.V4), dial(t, lab, lab.Bob, lab.Server.V4)

	var sent atomic.Int64
	go func() {
		chunk := make([]byte, 64<<10)
		for sent.Load() < size {
			n, err := a.Write(chunk)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
		a.CloseWrite()
	}()
	last, same := int64(-1), 0
	netlab.Eventually(t, limit, "the sender has to wait", func() bool {
		now := sent.Load()
		if same++; now != last || now == 0 {
			last, same = now, 0
		}
		return same >= 50
	})
	require.Less(t, sent.Load(), int64(size), "the sender should wait while nobody reads")
	n, err := io.Copy(io.Discard, b)
	require.NoError(t, err)
	require.EqualValues(t, size, n)

	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", relay.Pid()))
	require.NoError(t, err)
	var peak int
	for line := range strings.Lines(string(status)) {
		fmt.Sscanf(line, "VmHWM: %d kB", &peak)
	}
	t.Logf("peak memory of the relay: %d kB; the sender had to wait after %d kB", peak, last>>10)
	require.NotZero(t, peak)
	require.Less(t, peak, 100<<10, "kB; a Go program takes 10 MB, with -race some more")
}

// When there are no more files to open, the relay waits until there are.
func TestTooManyOpenFiles(t *testing.T) {
	lab := netlab.New(t)
	relay := lab.Server.Start(t, "bash", "-c", `ulimit -n 16 && exec "$0"`, netlab.Program("relay"))
	relay.WaitLog(t, "listening")
	var conns []*net.TCPConn
	for range 20 {
		conns = append(conns, dial(t, lab, lab.Alice, lab.Server.V4))
	}
	relay.WaitLog(t, "can't accept a connection now")
	relay.WaitLog(t, "too many open files")
	for _, conn := range conns {
		conn.Close()
	}
	a, b := dial(t, lab, lab.Alice, lab.Server.V4), dial(t, lab, lab.Bob, lab.Server.V4)
	_, err := a.Write([]byte("x"))
	require.NoError(t, err)
	_, err = b.Read(make([]byte, 1))
	require.NoError(t, err)
	require.Less(t, strings.Count(relay.Log(), "can't accept"), 100, "it must not spin")
}

// Bad input: one line, what to do, and the exit code.
func TestBadInput(t *testing.T) {
	lab := netlab.New(t)
	startRelay(t, lab) // takes port 5555
	for _, bad := range []struct {
		flags string
		code  int
		says  string
	}{
		{"", 1, "address already in use\n  Another program listens there"},
		{"-listen 192.0.2.99:5556", 1, "cannot assign requested address\n  This host does not have that address"},
		{"-listen nonsense", 2, "-listen nonsense: address nonsense: missing port"},
		{"-listen :99999", 2, "-listen :99999: address 99999: invalid port"},
		{"-wait -1s", 2, "-wait -1s: must be more than 0"},
		{"-wait 0", 2, "-wait 0s: must be more than 0"},
		{"-wait soon", 2, "-wait"},
		{"-max-pairs 0", 2, "-max-pairs 0: must be at least 1"},
		{"-nonsense", 2, "-nonsense"},
		{"nonsense", 2, "nonsense"},
	} {
		t.Run(bad.flags, func(t *testing.T) {
			p := lab.Server.Start(t, netlab.Program("relay"), strings.Fields(bad.flags)...)
			require.Equal(t, bad.code, p.Wait(t), p.Log())
			require.True(t, strings.HasPrefix(p.Log(), "relay: "), p.Log())
			require.Contains(t, p.Log(), bad.says)
			lines := strings.Split(strings.TrimSuffix(p.Log(), "\n"), "\n")
			for _, line := range lines[1:] {
				require.True(t, strings.HasPrefix(line, "  "), "a second line that is no hint: %q", line)
			}
		})
	}
}
