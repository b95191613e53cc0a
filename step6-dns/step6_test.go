// Package step6_test tries the programs of this step as they are used: on hosts
// in network namespaces, with other people's tools.
package step6_test

import (
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m, "./cmd/client", "./cmd/server") }

const limit = 60 * time.Second // bounds each wait; a busy machine is slow

// newKey makes a key file.
func newKey(t *testing.T) string {
	name := filepath.Join(t.TempDir(), "vpn.key")
	text := base64.StdEncoding.EncodeToString([]byte("only for this test, 32 bytes it is"[:32])) + "\n"
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

// A world is the lab with its web site and its two resolvers: the cafe's, which
// alice is told to use, and the known one, which the VPN server asks.
type world struct {
	*netlab.Lab
	cafeDNS, knownDNS *netlab.DNS
	key               string
}

func newWorld(t *testing.T) *world {
	lab := netlab.New(t)
	lab.Web.ServeSite(t)
	return &world{lab, lab.Cafe.ServeDNS(t), lab.Web.ServeDNS(t), newKey(t)}
}

func (w *world) server(t *testing.T, flags ...string) *netlab.Process {
	t.Helper()
	p := w.Server.Start(t, netlab.Program("server"), append([]string{"-key", w.key, "-dns", w.Web.V4.String()}, flags...)...)
	p.WaitLog(t, "tunnel is up")
	return p
}

func (w *world) client(t *testing.T, flags ...string) *netlab.Process {
	t.Helper()
	p := w.Alice.Start(t, netlab.Program("client"), append([]string{"-key", w.key, "-server", w.Server.V4.String() + ":5555"}, flags...)...)
	p.WaitLog(t, "tunnel is up")
	return p
}

// resolvConf is what alice's programs read.
func (w *world) resolvConf(t *testing.T) string {
	t.Helper()
	return w.Alice.Run(t, "bash", "-c", "stat -c '%F %a %u:%g' /etc/resolv.conf; cat /etc/resolv.conf")
}

// state is all else that the client may change on alice.
func (w *world) state(t *testing.T) string {
	t.Helper()
	return w.Alice.Run(t, "bash", "-c", "ip -4 rule; ip -6 rule; ip -4 route show table all; ip -6 route show table all; ip -o link | cut -d: -f2; nft list ruleset; find /var/lib/stepvpn -name *.json 2>/dev/null || true")
}

// address is what glibc, and so most programs, find for a name.
func address(t *testing.T, h *netlab.Host, name string) string {
	t.Helper()
	fields := strings.Fields(h.Run(t, "getent", "ahostsv4", name))
	require.NotEmpty(t, fields)
	return fields[0]
}

func interrupt(t *testing.T, processes ...*netlab.Process) {
	t.Helper()
	for _, p := range processes {
		p.Interrupt()
		require.Zero(t, p.Wait(t), p.Log())
	}
}

// ask does what programs do, all at the same time: by glibc, by dig, by TCP, and to
// resolvers that they know by themselves, IPv4 and IPv6.
func (w *world) ask() {
	commands := []string{
		"getent ahosts web.example",
		"curl -sS --max-time 10 http://web.example/whoami",
		"dig +tries=1 +time=2 secret.example",
		"dig +tries=1 +time=2 +tcp secret.example",
	}
	for _, h := range []*netlab.Host{w.Cafe, w.Web} {
		for _, to := range []string{"@" + h.V4.String(), "@" + h.V6.String(), "+tcp @" + h.V4.String()} {
			commands = append(commands, "dig +tries=1 +time=1 secret.example "+to)
		}
	}
	var programs sync.WaitGroup
	for _, c := range commands {
		words := strings.Fields(c)
		programs.Go(func() { w.Alice.Try(words[0], words[1:]...) })
	}
	programs.Wait()
}

func TestNoQueryLeavesTheTunnel(t *testing.T) {
	w := newWorld(t)
	before, stateBefore := w.resolvConf(t), w.state(t)

	// The detector first.
	capture := w.Cafe.Capture(t, "br0", "port 53")
	w.ask()
	require.Greater(t, len(capture.Stop()), 10)
	require.Greater(t, len(w.cafeDNS.Questions()), 3)

	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			s := w.server(t, "-transport", network, "-search", "example")
			c := w.client(t, "-transport", network)
			require.NotEqual(t, before, w.resolvConf(t))
			require.NotEqual(t, stateBefore, w.state(t))
			seen, asked := len(w.cafeDNS.Questions()), len(w.knownDNS.Questions())
			capture := w.Cafe.Capture(t, "br0", "port 53")
			w.ask()
			require.Equal(t, w.Web.V4.String(), address(t, w.Alice, "web.example"))
			require.Equal(t, w.Web.V4.String(), address(t, w.Alice, "web"), "the search domain is in use")
			require.Equal(t, w.Server.V4.String()+"\n", w.Alice.Run(t, "curl", "-4sS", "--max-time", "20", "http://web.example/whoami"))
			require.Equal(t, w.Server.V6.String()+"\n", w.Alice.Run(t, "curl", "-6sS", "--max-time", "20", "http://web.example/whoami"))
			require.Empty(t, capture.Stop())
			require.Len(t, w.cafeDNS.Questions(), seen)
			questions := w.knownDNS.Questions()[asked:]
			require.NotEmpty(t, questions)
			for _, q := range questions {
				require.True(t, strings.HasPrefix(q, w.Server.V4.String()+" "), "asked by the server, not by alice: %s", q)
			}

			interrupt(t, c, s)
			require.Equal(t, before, w.resolvConf(t))
			require.Equal(t, stateBefore, w.state(t))
			require.Equal(t, w.Web.V4.String(), address(t, w.Alice, "web.example"))
			require.Greater(t, len(w.cafeDNS.Questions()), seen, "the cafe is asked again")
		})
	}
}

func TestRecordsOfEachKind(t *testing.T) {
	w := newWorld(t)
	s, c := w.server(t), w.client(t)
	for _, q := range []string{"web.example A", "web.example AAAA", "example MX", "big.example TXT", "nowhere.example A", "web.example SRV"} {
		dig := func(h *netlab.Host, options ...string) string {
			out := h.Run(t, "dig", append(append([]string{"+noall", "+comments", "+answer", "+tries=2"}, options...), strings.Fields(q)...)...)
			// Of the comments, the status. TTLs count down.
			var lines []string
			for line := range strings.Lines(out) {
				if _, status, ok := strings.Cut(line, "status: "); ok {
					status, _, _ = strings.Cut(status, ",")
					lines = append(lines, status)
				} else if line != "\n" && !strings.HasPrefix(line, ";") {
					f := strings.Fields(line)
					lines = append(lines, strings.Join(append(f[:1], f[2:]...), " "))
				}
			}
			return strings.Join(lines, "\n")
		}
		want := dig(w.Server, "@"+w.Web.V4.String())
		require.NotEmpty(t, want)
		require.Equal(t, want, dig(w.Alice), q)
		require.Equal(t, want, dig(w.Alice, "+tcp"), q)
		require.Equal(t, want, dig(w.Alice, "@fd00:8::1"), q)
	}
	interrupt(t, c, s)
}

func TestOtherResolvers(t *testing.T) {
	w := newWorld(t)
	s, c := w.server(t), w.client(t)
	out, err := w.Alice.Try("dig", "+tries=1", "+time=2", "@"+w.Cafe.V4.String(), "web.example")
	require.Error(t, err)
	require.Contains(t, out, "permission denied")
	interrupt(t, c)

	c = w.client(t, "-allow-other-dns")
	w.Alice.Run(t, "dig", "+tries=1", "@"+w.Cafe.V4.String(), "web.example")
	w.Alice.Run(t, "dig", "+tries=1", "@"+w.Web.V4.String(), "web.example")
	require.Equal(t, w.Web.V4.String(), address(t, w.Alice, "web.example"))
	interrupt(t, c, s)
}

func TestKillAndRecover(t *testing.T) {
	w := newWorld(t)
	before, stateBefore := w.resolvConf(t), w.state(t)
	s := w.server(t)
	kill := func() {
		c := w.client(t)
		c.Kill()
		c.Wait(t)
		require.NotEqual(t, before, w.resolvConf(t), "or the test shows nothing")
		require.NotEqual(t, stateBefore, w.state(t))
		seen := len(w.cafeDNS.Questions())
		w.ask()
		require.Len(t, w.cafeDNS.Questions(), seen, "names fail, and are not asked in the clear")
	}

	kill()
	out := w.Alice.Run(t, netlab.Program("client"), "-recover")
	require.Contains(t, out, "/etc/resolv.conf")
	require.Equal(t, before, w.resolvConf(t))
	require.Equal(t, stateBefore, w.state(t))
	require.Equal(t, w.Web.V4.String(), address(t, w.Alice, "web.example"))
	w.Alice.Run(t, netlab.Program("client"), "-recover") // nothing to do is no error
	require.Equal(t, before, w.resolvConf(t))

	// The next start does it too, even if it needs the cafe's resolver to find its
	// server.
	kill()
	c := w.client(t, "-server", "server.example:5555")
	require.Equal(t, w.Web.V4.String(), address(t, w.Alice, "web.example"))
	interrupt(t, c)
	require.Equal(t, before, w.resolvConf(t))
	require.Equal(t, stateBefore, w.state(t))
	interrupt(t, s)
}

// A client that runs is left alone by -recover, and by a second one.
func TestOneClientAtATime(t *testing.T) {
	w := newWorld(t)
	s, c := w.server(t), w.client(t)
	while, stateWhile := w.resolvConf(t), w.state(t)
	for _, flags := range [][]string{{"-recover"}, {"-key", w.key, "-server", "203.0.113.10:5555", "-dev", "vpn1", "-addr", "10.9.0.2/24"}} {
		out, err := w.Alice.Try(netlab.Program("client"), flags...)
		require.Error(t, err)
		require.Contains(t, out, "another client runs on this host: it sends everything into vpn0")
		require.Equal(t, while, w.resolvConf(t))
		require.Equal(t, stateWhile, w.state(t))
	}
	interrupt(t, c, s)
}

func TestUpstreamsThatDoNotAnswer(t *testing.T) {
	w := newWorld(t)
	c := func() *netlab.Process { return w.client(t) }
	s := w.server(t, "-dns", w.Bob.V4.String()+","+w.Web.V4.String()) // nobody answers at bob's
	first := c()
	require.Equal(t, w.Web.V4.String(), address(t, w.Alice, "web.example"))
	interrupt(t, first, s)

	s = w.server(t, "-dns", w.Bob.V4.String())
	second := c()
	out := w.Alice.Run(t, "dig", "+tries=1", "+time=20", "web.example")
	require.Contains(t, out, "status: SERVFAIL")
	interrupt(t, second, s)
}

// A client of this step meets a server of the one before, and the other way round.
func TestNeighbouringSteps(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	out, err := exec.Command("go", "build", "-buildvcs=false", "-o", dir+"/", "stepvpn/step5-nat/cmd/server", "stepvpn/step5-nat/cmd/client").CombinedOutput()
	require.NoError(t, err, "%s", out)

	old := w.Server.Start(t, dir+"/server", "-key", w.key)
	old.WaitLog(t, "tunnel is up")
	before, stateBefore := w.resolvConf(t), w.state(t)
	said, err := w.Alice.Try(netlab.Program("client"), "-key", w.key, "-server", "203.0.113.10:5555")
	require.Error(t, err)
	require.Contains(t, said, "client: the server names no resolver to ask inside the tunnel\n")
	require.Equal(t, before, w.resolvConf(t))
	require.Equal(t, stateBefore, w.state(t))

	c := w.client(t, "-allow-other-dns")
	require.Equal(t, before, w.resolvConf(t))
	require.Equal(t, w.Web.V4.String(), address(t, w.Alice, "web.example"))
	interrupt(t, c, old)

	s := w.server(t)
	old = w.Alice.Start(t, dir+"/client", "-key", w.key, "-server", "203.0.113.10:5555")
	old.WaitLog(t, "tunnel is up")
	w.Alice.Run(t, "dig", "+tries=2", "@10.8.0.1", "web.example")
	interrupt(t, old, s)
}

func TestBadInput(t *testing.T) {
	w := newWorld(t)
	holder := w.Server.Start(t, "socat", "-u", "UDP4-RECV:53", "/dev/null")
	netlab.Eventually(t, limit, "port 53 of the server is taken", func() bool {
		out, _ := w.Server.Try("ss", "-Hlun", "sport = 53")
		return out != ""
	})
	for _, c := range []struct {
		name, program, flags string
		code                 int
		text                 string
	}{
		{"no key file", "server", "-key /nowhere", 1, "there is no key file /nowhere"},
		{"device name taken", "server", "-dev eth0", 1, "device name eth0 is taken"},
		{"no address", "server", "-dns one.example", 2, `"one.example" is not`},
		{"no upstream", "server", "-dns=", 2, "is not"},
		{"not a domain", "server", "-search ex:ample", 2, `"ex:ample" is not a domain, such as corp.example`},
		{"port taken", "server", "", 1, "53"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := w.Server.Run(t, "bash", "-c", "ip rule; ip -o link | cut -d: -f2; iptables-save | grep -e ^-A; sysctl net.ipv4.ip_forward")
			args := append([]string{"-key", w.key}, strings.Fields(c.flags)...)
			p := w.Server.Start(t, netlab.Program(c.program), args...)
			require.Equal(t, c.code, p.Wait(t), p.Log())
			require.Contains(t, p.Log(), c.text)
			require.Equal(t, before, w.Server.Run(t, "bash", "-c", "ip rule; ip -o link | cut -d: -f2; iptables-save | grep -e ^-A; sysctl net.ipv4.ip_forward"))
		})
	}

	t.Run("resolv.conf cannot be written", func(t *testing.T) {
		holder.Kill()
		holder.Wait(t)
		s := w.server(t)
		w.Alice.Run(t, "mount", "-t", "tmpfs", "-o", "ro", "none", "/etc") // of alice alone
		before, stateBefore := w.Alice.Run(t, "ls", "-A", "/etc"), w.state(t)
		out, err := w.Alice.Try(netlab.Program("client"), "-key", w.key, "-server", "203.0.113.10:5555")
		require.Error(t, err)
		require.Contains(t, out, "client: /etc cannot be changed: it is on a read-only filesystem\n")
		require.Equal(t, before, w.Alice.Run(t, "ls", "-A", "/etc"))
		require.Equal(t, stateBefore, w.state(t))
		interrupt(t, s)
	})
}
