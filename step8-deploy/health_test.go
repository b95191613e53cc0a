package step8_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"stepvpn/shared/lab/zone"
	"stepvpn/shared/netlab"
	"stepvpn/step8-deploy/status"
)

// A systemd records what a service tells it (sd_notify(3)).
type systemd struct {
	path string

	mu   sync.Mutex
	told []string // guarded by mu
}

// before returns the lines that it was told before the first that begins with a text; all if
// there is none.
func (s *systemd) before(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.told, func(line string) bool { return strings.HasPrefix(line, prefix) })
	if i < 0 {
		i = len(s.told)
	}
	return slices.Clone(s.told[:i])
}

func newSystemd(t *testing.T) *systemd {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") // the path must be short
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &systemd{path: filepath.Join(dir, "s")}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.path, Net: "unixgram"})
	require.NoError(t, err)
	ended := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-ended })
	go func() {
		defer close(ended)
		for buf := make([]byte, 4096); ; {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.told = append(s.told, strings.Split(string(buf[:n]), "\n")...)
			s.mu.Unlock()
		}
	}()
	return s
}

// count returns how many messages begin with a text.
func (s *systemd) count(prefix string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.told {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

// notifying starts alice's client, which notifies a systemd.
func (w *world) notifying(t *testing.T, s *systemd, more ...string) *netlab.Process {
	t.Helper()
	args := append([]string{"NOTIFY_SOCKET=" + s.path}, more...)
	return w.Alice.Start(t, "env", append(args, netlab.Program("stepvpn"), "client", w.path("alice.toml"))...)
}

// reported is the part of the status of alice's client that these tests need.
type reported struct{ State, Reason, Cure string }

// says waits until alice's client is in a state, with a reason that contains a text.
func (w *world) says(t *testing.T, state, reason string) (r reported) {
	t.Helper()
	netlab.Eventually(t, limit, "alice is "+state+": "+reason, func() bool {
		out, err := w.Alice.Try(netlab.Program("stepvpn"), "status", "-json", "-socket", w.path("alice.sock"))
		r = reported{}
		return err == nil && json.Unmarshal([]byte(out), &r) == nil && r.State == state && strings.Contains(r.Reason, reason)
	})
	return r
}

// once checks that each of the texts is in the log once, and in this order.
func once(t *testing.T, log string, texts ...string) {
	t.Helper()
	at := 0
	for _, text := range texts {
		require.Equal(t, 1, strings.Count(log, text), "%q, in:\n%s", text, log)
		i := strings.Index(log, text)
		require.GreaterOrEqual(t, i, at, "%q comes too early in:\n%s", text, log)
		at = i
	}
}

// A client that can't connect is ready nevertheless. It says at once what it waits for, then
// what is wrong and what to do; it says each of these once, however often it tries.
func TestSaysWhatItWaitsFor(t *testing.T) {
	for _, c := range []struct {
		name, server, awaits, reason, cure string
		prepare                            func(*testing.T, *world)
	}{
		{"no answer", "203.0.113.10:5555", "an answer from 203.0.113.10:5555", "no answer", "Check that the server runs", nil},
		{"a wrong name", "nosuch.example:5555", "the address of nosuch.example", "there is no such name", "Check the name", nil},
		{"revoked", "203.0.113.10:5555", "an answer from 203.0.113.10:5555", "revoked", "Ask the server's owner", func(t *testing.T, w *world) {
			w.stepvpn(t, "clients", "revoke", "alice", "-registry", w.path("clients"))
			w.server(t)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.Cafe.ServeDNS(t)
			w.add(t, "alice")
			w.set(t, "alice.toml", "server", c.server)
			if c.prepare != nil {
				c.prepare(t, w)
			}
			s := newSystemd(t)
			began := time.Now()
			p := w.notifying(t, s)
			p.WaitLog(t, "client is connecting")
			t.Logf("the first line came after %v", time.Since(began).Round(10*time.Millisecond))
			netlab.Eventually(t, limit, "systemd takes it for ready", func() bool { return s.count("READY=1") == 1 })
			r := w.says(t, "waiting", c.reason)
			require.Contains(t, r.Cure, c.cure)
			out := w.Alice.Run(t, netlab.Program("stepvpn"), "status", "-socket", w.path("alice.sock"))
			require.Contains(t, out, "problem: ")
			require.Contains(t, out, "what to do: "+c.cure)
			require.Positive(t, s.count("STATUS=connecting to "+c.server+": waiting for "+c.awaits))
			require.Positive(t, s.count("STATUS=not connected: "))
			if c.name == "a wrong name" { // this one is tried again soonest
				netlab.Eventually(t, limit, "it has tried again", func() bool { return s.count("STATUS=not connected: ") > 2 })
			}
			once(t, p.Log(), "client is connecting", `awaits="`+c.awaits, "client is waiting", c.reason, c.cure)
		})
	}
}

// The session is alive, but no packets pass: the client says so, with what fails and what to
// do. It also says when packets pass again. The session does not end because of that.
func TestDegraded(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice", "metrics", "127.0.0.1:9587")
	w.server(t)
	s := newSystemd(t)
	p := w.notifying(t, s)
	p.WaitLog(t, "tunnel is up")
	online := func(limit string) (string, error) {
		return w.Alice.Try(netlab.Program("stepvpn"), "wait-online", "-socket", w.path("alice.sock"), "-timeout", limit)
	}
	out, err := online("1m")
	require.NoError(t, err, out)
	w.says(t, "up", "")
	session := func() (status.Report, int64) {
		r := w.report(t, w.Alice, "alice.sock")
		require.Len(t, r.Peers, 1)
		return r, r.Peers[0].Since.UnixNano()
	}
	_, began := session()
	measured := func(want string) {
		t.Helper()
		require.Contains(t, w.Alice.Run(t, "curl", "-sS", "http://127.0.0.1:9587/metrics"), want+"\n")
	}
	measured("stepvpn_up 1")

	w.Server.Run(t, "bash", "-ec", `nft add table inet broken
		nft add chain inet broken in '{ type filter hook prerouting priority -500; }'
		nft add rule inet broken in iifname vpn0 drop`)
	require.Empty(t, w.whoami(w.Web.V4), "the detector: nothing passes")
	since := time.Now()
	r := w.says(t, "degraded", "no packet comes back")
	t.Logf("seen after %v", time.Since(since).Round(100*time.Millisecond))
	require.Contains(t, r.Cure, "firewall")
	require.Len(t, w.report(t, w.Server, "server.sock").Peers, 1, "the session is alive")
	measured("stepvpn_up 0")
	measured(`stepvpn_state{state="degraded"} 1`)
	out, err = online("1s")
	require.Error(t, err)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Equal(t, "stepvpn: not up after 1s: the client is degraded: "+r.Reason, lines[0])
	require.Equal(t, "  "+r.Cure, lines[1])
	require.Positive(t, s.count("STATUS=connected to 203.0.113.10:5555 (203.0.113.10:5555), but "+r.Reason))
	w.Server.Run(t, "nft", "delete", "table", "inet", "broken")
	w.says(t, "up", "")

	// The resolver's upstream is dead: packets pass, but names are not found.
	w.names.Answer(func(zone.Query) *dns.Msg { return nil })
	r = w.says(t, "degraded", "names")
	require.Equal(t, w.Server.V4.String(), w.whoami(w.Web.V4), "packets pass")
	require.Contains(t, r.Cure, "dns_upstreams")
	w.names.Answer(zone.Answer)
	w.says(t, "up", "")
	measured("stepvpn_up 1")

	// The resolver itself does not answer, but its host does.
	w.Server.Run(t, "bash", "-ec", `nft add table inet broken
		nft add chain inet broken in '{ type filter hook prerouting priority -500; }'
		nft add rule inet broken in iifname vpn0 udp dport 53 drop`)
	w.says(t, "degraded", "resolver does not answer")
	w.Server.Run(t, "nft", "delete", "table", "inet", "broken")
	w.says(t, "up", "")

	_, now := session()
	require.Equal(t, began, now, "it is the same session")
	require.Equal(t, 3, strings.Count(p.Log(), "client is degraded"), p.Log())
	require.Equal(t, 4, strings.Count(p.Log(), "client is up"), p.Log())
	require.NotContains(t, p.Log(), "client is waiting")
}

// If names are not asked for in the tunnel, the server's host answers echo requests.
func TestDegradedWithoutNames(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice", "dns", false)
	rewrite(t, w.path("server.toml"), func(text string) string { return strings.Replace(text, "\ndns_upstreams", "\n# dns_upstreams", 1) })
	w.server(t, "dns", false)
	p := w.client(t)
	w.says(t, "up", "")
	w.Server.Run(t, "bash", "-ec", `nft add table inet broken
		nft add chain inet broken in '{ type filter hook prerouting priority -500; }'
		nft add rule inet broken in iifname vpn0 drop`)
	w.says(t, "degraded", "no packet comes back")
	w.Server.Run(t, "nft", "delete", "table", "inet", "broken")
	w.says(t, "up", "")
	require.NotContains(t, p.Log(), "client is waiting")
}

// probes returns the times at which probes came out of the tunnel, in seconds.
func probes(t *testing.T, c *netlab.Capture) (list []float64) {
	t.Helper()
	for _, line := range c.Read("-t") { // twice: with the time of day
		if at, _, found := strings.Cut(line, " "); found && strings.Contains(line, ".test.") {
			seconds, err := strconv.ParseFloat(at, 64)
			require.NoError(t, err, line)
			list = append(list, seconds)
		}
	}
	return list
}

// asked returns how many probes have reached the server's resolver.
func (w *world) asked() int {
	n := 0
	for _, q := range w.names.Questions() {
		if strings.Contains(strings.ToLower(q), ".test. ") {
			n++
		}
	}
	return n
}

// An idle client sends one probe every 10 s. A client that downloads sends none.
func TestProbesAreFew(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	w.server(t)
	w.client(t)
	w.says(t, "up", "")
	capture := w.Server.Capture(t, "vpn0", "udp dst port 53")
	before := w.asked()
	netlab.Eventually(t, 2*limit, "some probes", func() bool { return w.asked() >= before+3 })
	capture.Stop()
	times := probes(t, capture)
	require.GreaterOrEqual(t, len(times), 3)
	for i, at := range times[1:] {
		require.Greater(t, at-times[i], 9.5, "%v", times)
	}

	const bytes = 20_000_000
	file := filepath.Join(t.TempDir(), "file")
	w.Alice.Start(t, "curl", "-sS", "--limit-rate", "1M", "--output", file, fmt.Sprintf("http://%v/file?bytes=%d", w.Web.V4, bytes))
	size := func() int64 {
		info, err := os.Stat(file)
		if err != nil {
			return 0
		}
		return info.Size()
	}
	netlab.Eventually(t, limit, "the download has begun", func() bool { return size() > 1_000_000 })
	capture = w.Server.Capture(t, "vpn0", "udp dst port 53")
	netlab.Eventually(t, 2*limit, "it is almost over", func() bool { return size() > 18_000_000 })
	capture.Stop()
	require.Empty(t, probes(t, capture))
}

// A restart would not bring back a dead server or a dead network, so the watchdog is fed
// nevertheless.
func TestWatchdogOfADeadNetwork(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	server := w.server(t)
	s := newSystemd(t)
	p := w.notifying(t, s, "WATCHDOG_USEC=3000000")
	w.says(t, "up", "")
	fed := func(what string) {
		t.Helper()
		now := s.count("WATCHDOG=1")
		netlab.Eventually(t, limit, "the watchdog is fed: "+what, func() bool {
			return s.count("WATCHDOG=1") > now+5
		})
	}
	fed("connected")
	w.Alice.Run(t, "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "8bit", "burst", "1600", "limit", "1000000000")
	flood := w.Alice.Start(t, "bash", "-c", fmt.Sprintf("while :; do dd if=/dev/zero bs=1300 count=100000 >/dev/udp/%v/9; done", w.Web.V4))
	fed("a network that takes no packets")
	flood.Kill()
	w.Alice.Run(t, "tc", "qdisc", "del", "dev", "eth0", "root")
	server.Kill()
	server.Wait(t)
	fed("no server")
	w.Alice.Run(t, "ip", "link", "set", "eth0", "down")
	fed("no network")
	require.Equal(t, 1, s.count("READY=1"))
	require.NotContains(t, p.Log(), "the watchdog is not fed")
}

// Whoever has started the service can use the tunnel: systemd takes it for started when packets
// pass. Only where that takes longer than 3 s, it does not wait.
func TestReadyWhenUp(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	w.server(t)
	s := newSystemd(t)
	began := time.Now()
	w.notifying(t, s)
	netlab.Eventually(t, limit, "systemd takes it for ready", func() bool { return s.count("READY=1") == 1 })
	if took := time.Since(began); took >= 3*time.Second {
		t.Logf("this machine is too slow for that: it took %v", took)
		return
	}
	require.Contains(t, strings.Join(s.before("READY=1"), "\n"), "STATUS=connected to ")
	require.Equal(t, w.Server.V4.String(), w.whoami(w.Web.V4))
}

// A service starts and a machine boots, whether or not there is a server. A unit lets programs
// wait for the tunnel.
func TestStartsWithoutServer(t *testing.T) {
	w := newWorld(t)
	w.Cafe.ServeDNS(t)
	b := w.box(t)
	b.boot()
	journal := func() string { return b.run("journalctl", "-b", "-o", "cat", "-u", "stepvpn-client*") }
	active := func(unit string) bool { out, _ := b.try("systemctl", "is-active", unit); return out == "active" }
	b.run("systemctl", "enable", "--now", "stepvpn-client")
	require.True(t, active("stepvpn-client"))
	netlab.Eventually(t, limit, "it says that it is connecting", func() bool {
		return strings.Contains(journal(), "client is connecting") &&
			strings.Contains(b.of("StatusText"), "waiting for an answer from 203.0.113.10:5555")
	})

	// The machine boots. A service that needs the tunnel starts when the wait is over.
	remove := b.dropIn("stepvpn-wait-online.service", "soon", "[Service]\nExecStart=\nExecStart=/usr/local/bin/stepvpn wait-online -timeout 2s\n")
	b.write("etc/systemd/system/needs.service", `[Unit]
Wants=stepvpn-wait-online.service
After=stepvpn-wait-online.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'stepvpn status -json -socket /run/stepvpn/client.sock >/root/seen'
[Install]
WantedBy=multi-user.target
`)
	b.run("systemctl", "daemon-reload")
	b.run("systemctl", "enable", "needs.service")
	must(t, "reboot", "alice")
	require.True(t, active("multi-user.target"))
	require.True(t, active("stepvpn-client"))
	require.True(t, active("needs.service"), "it was wanted, not required")
	out := b.run("journalctl", "-b", "-o", "cat", "-u", "stepvpn-wait-online")
	require.Contains(t, out, "stepvpn: not up after 2s: the client is ")
	out, _ = b.try("systemctl", "is-failed", "stepvpn-wait-online")
	require.Equal(t, "failed", out)

	server := w.server(t)
	remove()
	b.run("systemctl", "restart", "needs.service")
	require.True(t, active("stepvpn-wait-online"))
	require.Contains(t, b.run("cat", "/root/seen"), `"state":"up"`)
	w.seenAs(t, w.Server.V4.String())
	b.run("systemctl", "stop", "stepvpn-client")
	require.False(t, active("stepvpn-wait-online"), "it is not online any more")

	for _, c := range []struct{ name, server, reason string }{
		{"a wrong name", "nosuch.example:5555", "there is no such name"},
		{"revoked", "203.0.113.10:5555", "revoked"},
	} {
		if c.name == "revoked" {
			w.stepvpn(t, "clients", "revoke", "alice", "-registry", w.path("clients"))
		}
		rewrite(t, b.settings(), func(text string) string {
			lines := slices.Collect(strings.Lines(text))
			for i, line := range lines {
				if strings.HasPrefix(line, "server = ") {
					lines[i] = fmt.Sprintf("server = %q\n", c.server)
				}
			}
			return strings.Join(lines, "")
		})
		b.run("systemctl", "start", "stepvpn-client") // with an exit code
		netlab.Eventually(t, limit, c.name+": the journal says so", func() bool {
			return strings.Contains(journal(), c.reason)
		})
		b.run("systemctl", "stop", "stepvpn-client")
	}
	server.Interrupt()
}
