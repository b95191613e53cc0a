package step8_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/push"
	"stepvpn/step8-deploy/privsep"
	"stepvpn/step8-deploy/takeover"
)

// takenOver makes the test binary a worker that somebody has taken over, at the keeper's
// socket that the variable names. It tries what gives it more than the tunnel.
const takenOver = "STEPVPN_TEST_TAKEN_OVER"

func TestMain(m *testing.M) {
	if socket, ok := os.LookupEnv(takenOver); ok {
		attack(socket)
		os.Exit(0)
	}
	netlab.MainInShards(m, 3, "./cmd/stepvpn")
}

// What it may ask its keeper for is in the lab's addresses.
var (
	theServer = netip.MustParseAddrPort("203.0.113.10:5555")
	theSite   = netip.MustParseAddrPort("203.0.113.80:80")
)

type dial struct {
	Attempt uint32
	Network string
	Address netip.AddrPort
}

// attack prints what was refused, a line each, or that it was not.
func attack(socket string) {
	conn, err := privsep.Dial(context.Background(), socket)
	if err != nil {
		fmt.Println("no keeper:", err)
		return
	}
	keeper := privsep.NewAsker(conn, func(string, json.RawMessage) {})
	report := func(what string, err error) { fmt.Printf("%s: %v\n", what, err) }
	try := func(what, do string, with any) (fds []int) {
		fds, err := keeper.Ask(do, with, nil)
		report(what, err)
		return fds
	}
	try("another server", "dial", dial{1, "udp", netip.MustParseAddrPort("203.0.113.80:5555")})
	try("another port", "dial", dial{1, "udp", netip.MustParseAddrPort("203.0.113.10:53")})
	try("another protocol", "dial", dial{1, "ip4:1", theServer})
	try("this host itself", "dial", dial{1, "tcp", netip.MustParseAddrPort("127.0.0.1:22")})
	terms := func(change func(*takeover.Terms)) takeover.Terms {
		t := takeover.Terms{Server: theServer, Addrs: []netip.Prefix{netip.MustParsePrefix("10.8.0.2/24")}, MTU: 1400,
			Settings: push.Settings{DNS: []netip.Addr{netip.MustParseAddr("10.8.0.1")}}}
		change(&t)
		return t
	}
	try("a server that nobody has asked", "take", terms(func(*takeover.Terms) {}))

	fds := try("the server", "dial", dial{2, "udp", theServer})
	if len(fds) != 1 {
		return
	}
	to := func(a netip.AddrPort) unix.Sockaddr {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	report("send to the server", unix.Sendto(fds[0], []byte("hello"), 0, nil))
	report("send elsewhere", unix.Sendto(fds[0], []byte("hello"), 0, to(theSite)))
	connected := unix.Connect(fds[0], to(theSite))
	_, err = unix.Write(fds[0], []byte("hello"))
	report("connect elsewhere", first(connected, err))
	report("take the mark off", unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_MARK, 0))
	report("tie it to eth0", unix.SetsockoptString(fds[0], unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "eth0"))
	_, err = unix.Write(fds[0], []byte("hello"))
	report("tied, send elsewhere", err)

	for what, change := range map[string]func(*takeover.Terms){
		"no address":             func(t *takeover.Terms) { t.Addrs = nil },
		"the address of all":     func(t *takeover.Terms) { t.Addrs[0] = netip.MustParsePrefix("10.8.0.2/0") },
		"a loopback address":     func(t *takeover.Terms) { t.Addrs[0] = netip.MustParsePrefix("127.0.0.1/8") },
		"many addresses":         func(t *takeover.Terms) { t.Addrs = append(t.Addrs, make([]netip.Prefix, 100)...) },
		"lines for resolv.conf":  func(t *takeover.Terms) { t.Settings.Search = []string{"x\nnameserver 192.0.2.1"} },
		"a resolver that is all": func(t *takeover.Terms) { t.Settings.DNS[0] = netip.IPv4Unspecified() },
		"an MTU of 5":            func(t *takeover.Terms) { t.MTU = 5 },
		"the server in itself":   func(t *takeover.Terms) { t.Addrs[0] = netip.MustParsePrefix("203.0.113.2/24") },
	} {
		try(what, "take", terms(change))
	}
	// One that is taken over can have a device, which is what it is for...
	if fds := try("the terms", "take", terms(func(*takeover.Terms) {})); len(fds) != 1 {
		return
	}
	// ...and no rights beyond it.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	report("a mark of its own", first(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, route.FwMark)))
	report("tied to eth0 itself", first(unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "eth0"), unix.Sendto(fd, []byte("hello"), 0, to(theSite))))
	for _, name := range []string{"/etc/shadow", "/etc/resolv.conf", "/dev/net/tun", os.Getenv("SETTINGS")} {
		_, err := os.OpenFile(name, os.O_RDWR, 0)
		report("open "+filepath.Base(name), err)
	}
	try("anything else", "run", "sh")
	_, err = keeper.Ask("settings", nil, nil)
	report("after that", err)
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Somebody has taken a client's worker over. He has the tunnel, and nothing else: nothing
// leaves the host past it but to the server, and he reads and changes no file.
func TestWorkerTakenOver(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	w.server(t)
	seen := func(f func()) []string {
		c := w.Cafe.Capture(t, "br0", fmt.Sprintf("ip and ether src %s and not port 5555 and not ip proto 2", w.mac(t)))
		f()
		return c.Stop()
	}
	require.NotEmpty(t, seen(func() {
		w.Alice.Do(func() {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
			require.NoError(t, err)
			defer unix.Close(fd)
			require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, route.FwMark))
			require.NoError(t, unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet4{Addr: theSite.Addr().As4(), Port: 80}))
		})
	}), "the detector")

	dir := t.TempDir()
	for d := dir; d != "/"; d = filepath.Dir(d) {
		require.NoError(t, os.Chmod(d, 0o755))
	}
	socket := filepath.Join(dir, "k.sock")
	keeper := w.Alice.Start(t, netlab.Program("stepvpn"), "client", "-worker", socket, w.path("alice.toml"))
	netlab.Eventually(t, limit, "the keeper is there", func() bool { _, err := os.Stat(socket); return err == nil })
	self := filepath.Join(dir, "attacker")
	text, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(self, text, 0o755))
	var out string
	require.Empty(t, seen(func() {
		out = w.Alice.Run(t, "setpriv", "--reuid", "22505", "--regid", "22505", "--clear-groups", "--no-new-privs",
			"env", takenOver+"="+socket, "SETTINGS="+w.path("alice.toml"), self)
	}), out)
	may := map[string]bool{"the server": true, "send to the server": true, "the terms": true, "tie it to eth0": true} // where it goes anyway
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Greater(t, len(lines), 25, out)
	for _, line := range lines {
		what, err, _ := strings.Cut(line, ": ")
		require.Equal(t, may[what], err == "<nil>", line)
	}
	require.False(t, keeper.Ended(), keeper.Log())
	keeper.Interrupt()
	require.Zero(t, keeper.Wait(t))
	require.Equal(t, w.Alice.V4.String(), w.whoami(w.Web.V4))
}

// worker returns the number of the process without privileges.
func worker(t *testing.T, h *netlab.Host, keeper *netlab.Process) string {
	t.Helper()
	var pid string
	netlab.Eventually(t, limit, "there is a worker", func() bool {
		out, _ := h.Try("pgrep", "-f", "-P", fmt.Sprint(keeper.Pid()), "stepvpn worker")
		pid = strings.TrimSpace(out)
		return pid != ""
	})
	return pid
}
