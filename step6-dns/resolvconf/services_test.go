package resolvconf

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
)

// packagesVar holds the folder of the unpacked Debian packages for the tests,
// or "!" and why there are none.
const packagesVar = "STEPVPN_TEST_PACKAGES"

// fetchPackages gets them while there still is a network, that is outside.
func fetchPackages() {
	if _, done := os.LookupEnv(packagesVar); done || os.Getenv("STEPVPN_SKIP_NETNS") == "1" {
		return
	}
	folder, err := filepath.Abs("../../.cache/debian")
	if err != nil {
		panic(err)
	}
	out, err := exec.Command("testdata/unpack.sh", folder, "systemd-resolved", "dbus-daemon", "openresolv", "resolvconf").CombinedOutput()
	if err != nil {
		folder = fmt.Sprintf("!%v: %s", err, out)
	}
	os.Setenv(packagesVar, folder)
}

// unpacked returns the folder of a package.
func unpacked(t *testing.T, name string) string {
	t.Helper()
	needNamespaces(t)
	folder := os.Getenv(packagesVar)
	if reason, none := strings.CutPrefix(folder, "!"); none {
		t.Fatal("this test needs Debian packages: ", reason)
	}
	return filepath.Join(folder, name)
}

// privateEtc gives the tests an /etc of their own, with what glibc needs. The
// host's path is the /etc/resolv.conf there.
func privateEtc(t *testing.T) *host {
	t.Helper()
	needNamespaces(t)
	dir := t.TempDir()
	etc := filepath.Join(dir, "etc")
	require.NoError(t, os.Mkdir(etc, 0o755))
	for name, text := range map[string]string{
		"nsswitch.conf": "hosts: files dns\n",
		"hosts":         "127.0.0.1 localhost\n",
		"passwd":        fmt.Sprintf("systemd-resolve:x:%[1]d:%[2]d::/:/bin/sh\nroot:x:0:0::/:/bin/sh\n", os.Geteuid(), os.Getegid()),
		"group":         fmt.Sprintf("systemd-resolve:x:%d:\nroot:x:0:\n", os.Getegid()),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644))
	}
	bind(t, etc, "/etc", 0)
	return &host{path: DefaultPath, state: filepath.Join(dir, "state"), device: "vpn0"}
}

// A scene is a host with two links, each to a resolver that answers everything
// with an address of its own, and notes who was asked for what.
type scene struct {
	cafe, vpn *resolver
}

// The address shows which resolver answered.
const (
	cafeDNS, vpnDNS       = "198.51.100.1", "10.8.0.1"
	cafeAnswer, vpnAnswer = "192.0.2.66", "192.0.2.8"
)

// A resolver answers all names with one address.
type resolver struct {
	mu    sync.Mutex
	asked []string // guarded by mu: names, lower case, with the final dot
}

func (r *resolver) saw(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.asked {
		if strings.EqualFold(a, name+".") {
			return true
		}
	}
	return false
}

func newScene(t *testing.T) *scene {
	t.Helper()
	needNamespaces(t)
	const far = "far" // the namespace at the other end of the links
	ip := func(command string) {
		t.Helper()
		out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput()
		require.NoError(t, err, "ip %s: %s", command, out)
	}
	ip("netns add " + far)
	t.Cleanup(func() {
		exec.Command("ip", "link", "del", "vpn0").Run()
		exec.Command("ip", "link", "del", "wifi0").Run()
		ip("netns del " + far)
	})
	for device, net := range map[string]string{"wifi0": "198.51.100", "vpn0": "10.8.0"} {
		ip("link add " + device + " type veth peer name " + device + " netns " + far)
		ip("addr add " + net + ".2/24 dev " + device)
		ip("link set " + device + " up")
		ip("-n " + far + " addr add " + net + ".1/24 dev " + device)
		ip("-n " + far + " link set " + device + " up")
	}
	return &scene{cafe: serve(t, far, cafeDNS, cafeAnswer), vpn: serve(t, far, vpnDNS, vpnAnswer)}
}

// serve runs a resolver in a namespace.
func serve(t *testing.T, namespace, addr, answer string) *resolver {
	t.Helper()
	r := &resolver{}
	server := &dns.Server{PacketConn: listenIn(t, namespace, addr+":53"), Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		r.mu.Lock()
		r.asked = append(r.asked, q.Question[0].Name)
		r.mu.Unlock()
		m := new(dns.Msg)
		m.SetReply(q)
		m.RecursionAvailable = true
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = append(m.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
				A:   net.ParseIP(answer),
			})
		}
		w.WriteMsg(m)
	})}
	ended := make(chan struct{})
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	go func() {
		defer close(ended)
		server.ActivateAndServe()
	}()
	<-started
	t.Cleanup(func() {
		server.Shutdown()
		<-ended
	})
	return r
}

// listenIn opens a UDP socket in a namespace.
func listenIn(t *testing.T, namespace, addr string) net.PacketConn {
	t.Helper()
	runtime.LockOSThread()
	back, err := os.Open("/proc/thread-self/ns/net")
	require.NoError(t, err)
	defer back.Close()
	there, err := os.Open("/run/netns/" + namespace)
	require.NoError(t, err)
	defer there.Close()
	require.NoError(t, unix.Setns(int(there.Fd()), unix.CLONE_NEWNET))
	conn, listenErr := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	require.NoError(t, unix.Setns(int(back.Fd()), unix.CLONE_NEWNET))
	runtime.UnlockOSThread()
	require.NoError(t, listenErr)
	return conn
}

// lookUp asks glibc, as nearly all programs do, for a name of which nobody has
// an answer yet, and returns the address.
func lookUp(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("getent", "ahostsv4", name).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return strings.Fields(string(out))[0]
}

// answersWith looks up the name in each way that there is, and requires that it
// is one of the resolvers who answers, and the other never hears of it.
func (s *scene) answersWith(t *testing.T, answer, name string, ways ...func(*testing.T, string) string) {
	t.Helper()
	for i, way := range append(ways, lookUp) {
		unique := fmt.Sprintf("way%d.%s", i, name)
		require.Equal(t, answer, way(t, unique))
		require.Equal(t, answer == vpnAnswer, s.vpn.saw(unique), unique)
		require.Equal(t, answer == cafeAnswer, s.cafe.saw(unique), unique)
	}
}

// start starts a program in the background, until the test ends.
func start(t *testing.T, name string, args ...string) (stop func()) {
	t.Helper()
	cmd := exec.Command(name, args...)
	log, err := os.Create(filepath.Join(t.TempDir(), filepath.Base(name)))
	require.NoError(t, err)
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	stop = sync.OnceFunc(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("%s logged:\n%s", name, text)
		}
	})
	t.Cleanup(stop)
	return stop
}

// waitFor waits until the file is there.
func waitFor(t *testing.T, path string) {
	t.Helper()
	netlab.Eventually(t, limit, path+" is there", func() bool {
		_, err := os.Stat(path)
		return err == nil
	})
}
