package step8_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/push"
	"stepvpn/step8-deploy/privsep"
	"stepvpn/step8-deploy/takeover"
)

// takenOver is the variable that makes the test binary a worker that an attacker controls, at
// the keeper's socket that it names. That worker tries everything that would give it more than
// the tunnel.
const takenOver = "STEPVPN_TEST_TAKEN_OVER"

func TestMain(m *testing.M) {
	if socket, ok := os.LookupEnv(takenOver); ok {
		attack := attackClient
		if os.Getenv("ROLE") == "server" {
			attack = attackServer
		}
		attack(socket)
		os.Exit(0)
	}
	fetchResolved()
	netlab.MainInShards(m, 5, "./cmd/stepvpn", "stepvpn/step7-auth/cmd/client")
}

// These are the lab's addresses, for requests to the keeper.
var (
	theServer = netip.MustParseAddrPort("203.0.113.10:5555")
	theSite   = netip.MustParseAddrPort("203.0.113.80:80")
)

type dial struct {
	Attempt uint32
	Network string
	Address netip.AddrPort
}

// asker returns the keeper, and a function that sends it a request.
func asker(socket string) (keeper *privsep.Asker, try func(what, do string, with any) []int) {
	conn, err := privsep.Dial(context.Background(), socket)
	if err != nil {
		fmt.Println("no keeper:", err)
		os.Exit(1)
	}
	keeper = privsep.NewAsker(conn, func(string, json.RawMessage) {})
	return keeper, func(what, do string, with any) []int {
		fds, err := keeper.Ask(do, with, nil)
		report(what, err)
		return fds
	}
}

// report prints whether a request was refused.
func report(what string, err error) { fmt.Printf("%s: %v\n", what, err) }

// attackServer tries what the worker of a server could try.
func attackServer(socket string) {
	keeper, try := asker(socket)
	try("what it is for", "settings", nil)
	try("forget a client", "forget", []netip.Addr{netip.MustParseAddr("10.8.0.2")})
	try("forget the host's own connections", "forget", []netip.Addr{netip.MustParseAddr("203.0.113.10")})
	try("forget everything", "forget", make([]netip.Addr, 3000))
	try("fail with a text that is too long", "fail", map[string]string{"Error": strings.Repeat("x", 5000)})
	for _, name := range []string{"server.key", "server.toml", "clients"} {
		_, err := os.ReadFile(filepath.Join(os.Getenv("SETTINGS"), name))
		report("read "+name, err)
	}
	_, err := os.Create(filepath.Join(os.Getenv("SETTINGS"), "x"))
	report("write beside them", err)
	try("what a client's may", "dial", dial{1, "udp", theServer})
	_, err = keeper.Ask("settings", nil, nil)
	report("after that", err)
}

// attackClient tries what the worker of a client could try.
func attackClient(socket string) {
	keeper, try := asker(socket)
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
	_, err := unix.Write(fds[0], []byte("hello"))
	report("connect elsewhere", first(connected, err))
	report("take the mark off", unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_MARK, 0))
	report("tie it to eth0", unix.SetsockoptString(fds[0], unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "eth0"))
	_, err = unix.Write(fds[0], []byte("hello"))
	report("tied, send elsewhere", err)

	for what, change := range map[string]func(*takeover.Terms){
		"no address":             func(t *takeover.Terms) { t.Addrs = nil },
		"the address of all":     func(t *takeover.Terms) { t.Addrs[0] = netip.MustParsePrefix("10.8.0.2/0") },
		"half of all addresses":  func(t *takeover.Terms) { t.Addrs[0] = netip.MustParsePrefix("10.8.0.2/1") },
		"a loopback address":     func(t *takeover.Terms) { t.Addrs[0] = netip.MustParsePrefix("127.0.0.1/8") },
		"many addresses":         func(t *takeover.Terms) { t.Addrs = append(t.Addrs, make([]netip.Prefix, 100)...) },
		"lines for resolv.conf":  func(t *takeover.Terms) { t.Settings.Search = []string{"x\nnameserver 192.0.2.1"} },
		"a resolver that is all": func(t *takeover.Terms) { t.Settings.DNS[0] = netip.IPv4Unspecified() },
		"an MTU of 5":            func(t *takeover.Terms) { t.MTU = 5 },
		"the server in itself":   func(t *takeover.Terms) { t.Addrs[0] = netip.MustParsePrefix("203.0.113.2/24") },
	} {
		try(what, "take", terms(change))
	}
	// A worker that an attacker controls can have a device, which is its purpose...
	if fds := try("the terms", "take", terms(func(*takeover.Terms) {})); len(fds) != 1 {
		return
	}
	// ...and no rights beyond it.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	report("a mark of its own", first(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, route.FwMark)))
	report("tied to eth0 itself", first(unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "eth0"), unix.Sendto(fd, []byte("hello"), 0, to(theSite))))
	for _, name := range []string{"/etc/shadow", "/etc/resolv.conf", os.Getenv("SETTINGS")} {
		_, err := os.OpenFile(name, os.O_RDWR, 0)
		report("open "+filepath.Base(name), err)
	}
	report("a device of its own", makeDevice())
	try("a next key, told by a server that nobody knows", "learn", map[string]noise.PublicKey{"By": {1}, "Next": {2}})
	try("anything else", "run", "sh")
	_, err = keeper.Ask("settings", nil, nil)
	report("after that", err)
}

// makeDevice makes a TUN device. On most machines everybody may open the file, and not make a
// device with it.
func makeDevice() error {
	file, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	request, err := unix.NewIfreq("own0")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	return unix.IoctlIfreq(int(file.Fd()), unix.TUNSETIFF, request)
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// An attacker has taken over a client's worker. He has the tunnel, and nothing else: he reads
// and changes no file, and nothing leaves the host outside of the tunnel, except to the
// server.
func TestWorkerTakenOver(t *testing.T) {
	needsUsers(t)
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

	socket, self := placeFor(t)
	keeper := w.Alice.Start(t, netlab.Program("stepvpn"), "client", "-worker", socket, w.path("alice.toml"))
	netlab.Eventually(t, limit, "the keeper is there", func() bool { _, err := os.Stat(socket); return err == nil })
	var out string
	require.Empty(t, seen(func() { out = as(t, w.Alice, "22505", self, takenOver+"="+socket, "SETTINGS="+w.path("alice.toml")) }), out)
	mayOnly(t, out, 26, "the server", "send to the server", "the terms", "tie it to eth0") // where the traffic goes anyway
	require.False(t, keeper.Ended(), keeper.Log())
	keeper.Interrupt()
	require.Zero(t, keeper.Wait(t))
	require.Equal(t, w.Alice.V4.String(), w.whoami(w.Web.V4))
}

// An attacker has taken over a server's worker. He has its clients' packets, but not its
// files.
func TestServersWorkerTakenOver(t *testing.T) {
	needsUsers(t)
	w := newWorld(t)
	w.add(t, "alice")
	w.set(t, "server.toml", "status_socket", w.path("server.sock"))
	socket, self := placeFor(t)
	keeper := w.Server.Start(t, netlab.Program("stepvpn"), "server", "-worker", socket, w.path("server.toml"))
	netlab.Eventually(t, limit, "the keeper is there", func() bool { _, err := os.Stat(socket); return err == nil })
	mayOnly(t, as(t, w.Server, "22506", self, takenOver+"="+socket, "ROLE=server", "SETTINGS="+w.dir), 10, "what it is for", "forget a client")
	require.False(t, keeper.Ended(), keeper.Log())
	keeper.Interrupt()
	require.Zero(t, keeper.Wait(t))
}

// needsUsers skips a test that an ordinary user runs, because that user's lab has no second
// user for the worker.
func needsUsers(t *testing.T) {
	t.Helper()
	users, err := os.ReadFile("/proc/self/uid_map")
	require.NoError(t, err)
	if f := strings.Fields(string(users)); len(f) == 3 && f[2] == "1" {
		t.Skip("in the lab of an ordinary user there is one user only: run it as root")
	}
}

// placeFor returns the paths of a keeper's socket and of this program, in a folder that all
// users can read. It changes the modes only of the test's own folders: those of the machine
// are not the test's to change.
func placeFor(t *testing.T) (socket, self string) {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != filepath.Clean(os.TempDir()) && d != "/"; d = filepath.Dir(d) {
		require.NoError(t, os.Chmod(d, 0o755))
	}
	text, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	self = filepath.Join(dir, "attacker")
	require.NoError(t, os.WriteFile(self, text, 0o755))
	return filepath.Join(dir, "k.sock"), self
}

// as runs this program as a user, and returns its output.
func as(t *testing.T, h *netlab.Host, user, self string, env ...string) string {
	t.Helper()
	args := []string{"--reuid", user, "--regid", user, "--clear-groups", "--no-new-privs", "env"}
	return h.Run(t, "setpriv", append(append(args, env...), self)...)
}

// mayOnly fails the test if anything except these was allowed, if one of these was refused, or
// if fewer things were tried.
func mayOnly(t *testing.T, out string, least int, may ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.GreaterOrEqual(t, len(lines), least, out)
	for _, line := range lines {
		what, err, _ := strings.Cut(line, ": ")
		require.Equal(t, slices.Contains(may, what), err == "<nil>", line)
	}
}

// worker returns the process ID of the process without privileges.
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

// A worker that is killed is restarted. Meanwhile device, routes, names and the kill switch
// stay, so a download goes on and nothing leaves. A keeper that is killed takes its worker
// along, and leaves the kill switch closed.
func TestKilledUnderLoad(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	server := w.server(t)
	w.Cafe.ServeDNS(t)
	eyes := w.watch(t, "before there is a VPN", true)
	eyes.more(20)
	client := w.client(t)
	eyes.phase("connected", false)
	w.seenAs(t, w.Server.V4.String())
	d := w.download(t)

	eyes.phase("the worker is killed", false)
	index := func() string {
		number, _, _ := strings.Cut(w.Alice.Run(t, "ip", "-o", "link", "show", "vpn0"), ":")
		return number
	}
	device, pid := index(), worker(t, w.Alice, client)
	w.Alice.Run(t, "kill", "-9", pid)
	eyes.more(20)
	netlab.Eventually(t, limit, "there is another one", func() bool { return worker(t, w.Alice, client) != pid })
	w.seenAs(t, w.Server.V4.String())
	require.Equal(t, device, index(), "the device has stayed")
	d.goesOn(t, "goes on after the worker was killed")

	eyes.phase("the keeper is killed", false)
	pid = worker(t, w.Alice, client)
	client.Kill()
	client.Wait(t)
	netlab.Eventually(t, limit, "the worker ends, too", func() bool { _, err := os.Stat("/proc/" + pid); return err != nil })
	eyes.more(20)
	require.Empty(t, w.whoami(w.Web.V4))
	client = w.client(t)
	w.seenAs(t, w.Server.V4.String())
	d.goesOn(t, "goes on after the keeper was killed")

	eyes.phase("the server's worker is killed", false)
	w.Server.Run(t, "kill", "-9", worker(t, w.Server, server))
	w.seenAs(t, w.Server.V4.String())
	d.goesOn(t, "goes on after the server's worker was killed")
	eyes.verdict()
	client.Interrupt()
	require.Zero(t, client.Wait(t))
}
