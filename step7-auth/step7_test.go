// Package step7_test tries the programs of this step as they are used: on hosts
// in network namespaces, with other people's tools.
package step7_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m, "./cmd/client", "./cmd/server", "./cmd/clients") }

const limit = 60 * time.Second // bounds each wait; a busy machine is slow

// A world is the lab with a web site, a resolver, and the files of a server.
type world struct {
	*netlab.Lab
	site *netlab.Site
	dir  string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	lab := netlab.New(t)
	w := &world{lab, lab.Web.ServeSite(t), t.TempDir()}
	lab.Web.ServeDNS(t)
	w.clients(t, "init")
	return w
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// clients runs the program of the operator, with the world's files.
func (w *world) clients(t *testing.T, command string, args ...string) string {
	t.Helper()
	flags := []string{command, "-registry", w.path("clients")}
	if command == "init" || command == "add" {
		flags = append(flags, "-key", w.path("server.key"))
	}
	return w.Server.Run(t, netlab.Program("clients"), append(flags, args...)...)
}

// add lets somebody in, and returns the name of the client file.
func (w *world) add(t *testing.T, name string, flags ...string) string {
	t.Helper()
	file := w.path(name + ".conf")
	w.clients(t, "add", append(flags, "-server", w.Server.V4.String()+":5555", "-out", file, name)...)
	return file
}

func (w *world) serverFlags(flags ...string) []string {
	return append([]string{"-key", w.path("server.key"), "-registry", w.path("clients"), "-leases", w.path("leases"), "-dns", w.Web.V4.String()}, flags...)
}

func (w *world) server(t *testing.T, flags ...string) *netlab.Process {
	t.Helper()
	p := w.Server.Start(t, netlab.Program("server"), w.serverFlags(flags...)...)
	p.WaitLog(t, "server is up")
	return p
}

// client connects a host.
func client(t *testing.T, h *netlab.Host, file string, flags ...string) *netlab.Process {
	t.Helper()
	p := h.Start(t, netlab.Program("client"), append([]string{"-profile", file}, flags...)...)
	p.WaitLog(t, "tunnel is up")
	return p
}

// refused runs a client that is not let in, and returns what it said last.
func refused(t *testing.T, h *netlab.Host, file string, flags ...string) string {
	t.Helper()
	p := h.Start(t, netlab.Program("client"), append([]string{"-profile", file, "-tries", "2"}, flags...)...)
	require.Equal(t, 1, p.Wait(t), p.Log())
	_, said, _ := strings.Cut(p.Log(), "client: ")
	return said
}

// inner returns the host's addresses in the tunnel, such as "10.8.0.2 fd00:8::2".
func inner(t *testing.T, h *netlab.Host) string {
	t.Helper()
	var addrs []string
	for _, word := range strings.Fields(h.Run(t, "ip", "-br", "address", "show", "dev", "vpn0")) {
		if a, _, ok := strings.Cut(word, "/"); ok && !strings.HasPrefix(a, "fe80:") {
			addrs = append(addrs, a)
		}
	}
	return strings.Join(addrs, " ")
}

// whoami returns the address under which the web site sees a host, "" if it does not
// answer.
func (w *world) whoami(h *netlab.Host) string {
	out, err := h.Try("curl", "-sS", "--max-time", "5", "http://"+w.Web.V4.String()+"/whoami")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out)
}

// surfs waits until a host reaches the web site by the tunnel.
func (w *world) surfs(t *testing.T, hosts ...*netlab.Host) {
	t.Helper()
	for _, h := range hosts {
		netlab.Eventually(t, limit, h.Name+" is seen as the server", func() bool { return w.whoami(h) == w.Server.V4.String() })
	}
}

// counted waits until the server's counters have a reason, such as "spoofed 2".
func counted(t *testing.T, server *netlab.Process, what string) {
	t.Helper()
	netlab.Eventually(t, limit, "the server has counted "+what, func() bool {
		server.Signal(usr1)
		lines := strings.Split(server.Log(), "\nserver: ")
		return strings.Contains(lines[len(lines)-1], " "+what)
	})
}

// state is all of a host that the programs may change.
func state(t *testing.T, h *netlab.Host) string {
	t.Helper()
	return h.Run(t, "bash", "-c", `
		ip -4 rule; ip -6 rule; ip -4 route show table all; ip -6 route show table all; ip -o link | cut -d: -f2
		iptables-save | grep -e ^-A -e "^:.* - "; ip6tables-save | grep -e ^-A -e "^:.* - "
		sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding
		stat -c "%F %a %u:%g" /etc/resolv.conf; cat /etc/resolv.conf; find /var/lib/stepvpn -name "*.json" 2>/dev/null || true`)
}

func interrupt(t *testing.T, processes ...*netlab.Process) {
	t.Helper()
	for _, p := range processes {
		p.Interrupt()
		require.Zero(t, p.Wait(t), p.Log())
	}
}

// Two at once, on every transport: each has its own addresses, sees the web site
// through the server, and asks the tunnel's resolver; in the end all hosts are as
// they were.
func TestTwoAtOnce(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			w := newWorld(t)
			hosts := []*netlab.Host{w.Alice, w.Bob, w.Server}
			var before []string
			w.Server.Run(t, "bash", "-c", "iptables-save; ip6tables-save") // the kernel makes its tables
			for _, h := range hosts {
				before = append(before, state(t, h))
			}
			a, b := w.add(t, "alice"), w.add(t, "bob")
			s := w.server(t, "-transport", network)
			pa, pb := client(t, w.Alice, a, "-transport", network), client(t, w.Bob, b, "-transport", network)
			require.Equal(t, "10.8.0.2 fd00:8::2", inner(t, w.Alice))
			require.Equal(t, "10.8.0.3 fd00:8::3", inner(t, w.Bob))
			w.surfs(t, w.Alice, w.Bob)
			for _, h := range hosts[:2] {
				require.Equal(t, w.Server.V6.String()+"\n", h.Run(t, "curl", "-6sS", "--max-time", "20", "http://web.example/whoami"))
				require.Equal(t, h.Run(t, "curl", "-sS", "--max-time", "20", "http://"+w.Web.V4.String()+"/file.sha256?bytes=3000000"),
					h.Run(t, "bash", "-c", "curl -sS --max-time 50 'http://"+w.Web.V4.String()+"/file?bytes=3000000' | sha256sum | cut -d' ' -f1"))
			}
			interrupt(t, pa, pb, s)
			for i, h := range hosts {
				require.Equal(t, before[i], state(t, h), h.Name)
			}
		})
	}
}

func TestOneFamily(t *testing.T) {
	for _, tt := range []struct{ addr, server, inner, url, from string }{
		{"10.9.0.1/24", "203.0.113.10:5555", "10.9.0.2", "http://203.0.113.80/whoami", "203.0.113.10\n"},
		{"fd00:9::1/64", "[2001:db8:5::10]:5555", "fd00:9::2", "http://[2001:db8:80::80]/whoami", "2001:db8:5::10\n"},
	} {
		t.Run(tt.addr, func(t *testing.T) {
			w := newWorld(t)
			file := w.path("alice.conf")
			w.clients(t, "add", "-server", tt.server, "-out", file, "alice")
			s := w.server(t, "-addr", tt.addr)
			c := client(t, w.Alice, file)
			require.Equal(t, tt.inner, inner(t, w.Alice))
			require.Equal(t, tt.from, w.Alice.Run(t, "curl", "-sS", "--max-time", "20", tt.url))
			for _, other := range []string{"http://203.0.113.80/whoami", "http://[2001:db8:80::80]/whoami"} {
				if other != tt.url {
					_, err := w.Alice.Try("curl", "-sS", "--max-time", "10", other)
					require.Error(t, err, "the other family does not go past the tunnel")
				}
			}
			interrupt(t, c, s)
		})
	}
}

func TestFixedAddress(t *testing.T) {
	w := newWorld(t)
	a, b := w.add(t, "alice", "-addr", "10.8.0.77,fd00:8::77"), w.add(t, "bob", "-addr", "10.8.0.2")
	s := w.server(t)
	pa, pb := client(t, w.Alice, a), client(t, w.Bob, b)
	require.Equal(t, "10.8.0.77 fd00:8::77", inner(t, w.Alice))
	require.Equal(t, "10.8.0.2 fd00:8::2", inner(t, w.Bob))

	// Another one, while she is connected: she is told so, asks again, and can't go
	// on with what she gets.
	w.edit(t, "10.8.0.77,", "10.8.0.78,")
	require.Equal(t, 1, pa.Wait(t))
	require.Contains(t, pa.Log(), "the address of this client has changed")
	require.Contains(t, pa.Log(), "the server now hands out other addresses ([10.8.0.78/24 fd00:8::77/64] instead of [10.8.0.77/24 fd00:8::77/64]): connect again\n")
	pa = client(t, w.Alice, a)
	require.Equal(t, "10.8.0.78 fd00:8::77", inner(t, w.Alice))
	w.surfs(t, w.Alice, w.Bob)
	interrupt(t, pa, pb, s)
}

// edit changes the registry in one move, as an editor does.
func (w *world) edit(t *testing.T, old, new string) {
	t.Helper()
	text, err := os.ReadFile(w.path("clients"))
	require.NoError(t, err)
	require.Contains(t, string(text), old)
	require.NoError(t, os.WriteFile(w.path("draft"), []byte(strings.ReplaceAll(string(text), old, new)), 0o600))
	require.NoError(t, os.Rename(w.path("draft"), w.path("clients")))
}

// The server takes the leases over, whether it had time to say goodbye or not;
// also if the clients come back in another order.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	a, b := w.add(t, "alice"), w.add(t, "bob")
	s := w.server(t)
	pa, pb := client(t, w.Alice, a), client(t, w.Bob, b)
	wantA, wantB := inner(t, w.Alice), inner(t, w.Bob)
	again := func() {
		w.surfs(t, w.Alice, w.Bob)
		require.Equal(t, wantA, inner(t, w.Alice))
		require.Equal(t, wantB, inner(t, w.Bob))
	}
	again()
	interrupt(t, s)
	s = w.server(t)
	again()
	s.Kill()
	s.Wait(t)
	s = w.server(t)
	again()
	require.False(t, pa.Ended() || pb.Ended(), "the clients have waited")

	interrupt(t, pa, pb)
	netlab.Eventually(t, limit, "the leases are written", func() bool {
		text, err := os.ReadFile(w.path("leases"))
		return err == nil && strings.Count(string(text), "=") == 4
	})
	s.Kill()
	s.Wait(t)
	s = w.server(t)
	pb = client(t, w.Bob, b)
	pa = client(t, w.Alice, a)
	again()
	interrupt(t, pa, pb, s)
}

// The newest machine of an identity is the one that is there. The other ends, and
// does not fight.
func TestSameKeyOnTwoMachines(t *testing.T) {
	w := newWorld(t)
	file := w.add(t, "alice")
	s := w.server(t)
	first := client(t, w.Alice, file)
	w.surfs(t, w.Alice)
	second := client(t, w.Bob, file)
	require.Equal(t, 1, first.Wait(t))
	require.Contains(t, first.Log(), "client: receiving from the other side: the server has ended the session: another machine with the same key has taken the place of this one\n")
	require.Equal(t, "10.8.0.2 fd00:8::2", inner(t, w.Bob))
	w.surfs(t, w.Bob)
	require.Contains(t, s.Log(), "another machine, or the same one after a restart, takes the place of a client")
	interrupt(t, second, s)
}

func TestClientToClient(t *testing.T) {
	w := newWorld(t)
	a, b := w.add(t, "alice"), w.add(t, "bob")
	for _, allowed := range []bool{true, false} { // the first shows that the pings below can arrive
		var flags []string
		if allowed {
			flags = []string{"-client-to-client"}
		}
		s := w.server(t, flags...)
		pa, pb := client(t, w.Alice, a), client(t, w.Bob, b)
		kernel := w.Server.Capture(t, "vpn0", "icmp or icmp6")
		for _, to := range strings.Fields(inner(t, w.Bob)) {
			out, err := w.Alice.Try("ping", "-c", "2", "-i", "0.2", "-W", "2", to)
			require.Equal(t, allowed, err == nil, out)
		}
		w.Alice.Run(t, "ping", "-c", "1", "-W", "10", w.Web.V4.String())
		seen := strings.Join(kernel.Stop(), "\n")
		require.Contains(t, seen, w.Web.V4.String(), "the capture sees what goes elsewhere")
		for _, to := range strings.Fields(inner(t, w.Bob)) {
			require.NotContains(t, seen, "> "+to+": ICMP", "the server's kernel has no part in it")
		}
		if !allowed {
			counted(t, s, "to-client 4")
		}
		interrupt(t, pa, pb, s)
	}
}

func TestSpoofedAddress(t *testing.T) {
	w := newWorld(t)
	a, b := w.add(t, "alice"), w.add(t, "bob")
	s := w.server(t)
	pa, pb := client(t, w.Alice, a), client(t, w.Bob, b)
	w.Alice.Run(t, "bash", "-c", "ip addr add 10.8.0.3/32 dev vpn0; ip addr add fd00:8::3/128 dev vpn0")
	left, came := w.Alice.Capture(t, "vpn0", "icmp or icmp6"), w.Server.Capture(t, "vpn0", "icmp or icmp6")
	w.Alice.Try("ping", "-c", "2", "-i", "0.2", "-W", "1", "-I", "10.8.0.3", w.Web.V4.String())
	w.Alice.Try("ping", "-c", "2", "-i", "0.2", "-W", "1", "-I", "fd00:8::3", w.Web.V6.String())
	w.Alice.Run(t, "ping", "-c", "1", "-W", "10", "-I", "10.8.0.2", w.Web.V4.String())
	counted(t, s, "spoofed 4")
	sent, arrived := strings.Join(left.Stop(), "\n"), strings.Join(came.Stop(), "\n")
	for _, from := range []string{"10.8.0.3 > ", "fd00:8::3 > "} {
		require.Contains(t, sent, from)
		require.NotContains(t, arrived, from)
	}
	require.Contains(t, arrived, "10.8.0.2 > ")
	interrupt(t, pa, pb, s)
}
