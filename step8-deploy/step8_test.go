package step8_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"stepvpn/shared/lab/site"
	"stepvpn/shared/lab/zone"
	"stepvpn/shared/netlab"
	"stepvpn/step8-deploy/status"
)

const limit = 60 * time.Second // bounds each wait; a busy machine is slow

// A world is the lab with a web site, a resolver, and the settings of a server.
type world struct {
	*netlab.Lab
	site  *netlab.Site
	names *netlab.DNS // on web; the server asks it
	dir   string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	lab := netlab.New(t)
	w := &world{lab, lab.Web.ServeSite(t), lab.Web.ServeDNS(t), t.TempDir()}
	w.stepvpn(t, "init", "server", "-dir", w.dir)
	w.set(t, "server.toml", "state", w.dir, "dns_upstreams", []string{w.Web.V4.String()})
	return w
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// stepvpn runs the program as the server's operator does.
func (w *world) stepvpn(t *testing.T, args ...string) string {
	t.Helper()
	return w.Server.Run(t, netlab.Program("stepvpn"), args...)
}

// set changes settings of a file: key, value, key, value...
func (w *world) set(t *testing.T, file string, settings ...any) {
	t.Helper()
	text, err := os.ReadFile(w.path(file))
	require.NoError(t, err)
	for i := 0; i < len(settings); i += 2 {
		value, err := json.Marshal(settings[i+1]) // JSON is valid TOML for these values
		require.NoError(t, err)
		line := regexp.MustCompile(fmt.Sprintf(`(?m)^(# )?%s = .*$`, settings[i]))
		require.Regexp(t, line, string(text))
		text = line.ReplaceAllLiteral(text, fmt.Appendf(nil, "%s = %s", settings[i], value))
	}
	require.NoError(t, os.WriteFile(w.path(file), text, 0o600))
}

// add registers a client, with some settings.
func (w *world) add(t *testing.T, name string, settings ...any) {
	t.Helper()
	w.stepvpn(t, "clients", "add", name, "-registry", w.path("clients"), "-key", w.path("server.key"),
		"-server", w.Server.V4.String()+":5555", "-out", w.path(name+".toml"))
	w.set(t, name+".toml", append([]any{"state", w.path(name), "status_socket", w.path(name + ".sock")}, settings...)...)
}

func (w *world) server(t *testing.T, settings ...any) *netlab.Process {
	t.Helper()
	w.set(t, "server.toml", append([]any{"status_socket", w.path("server.sock")}, settings...)...)
	return w.serve(t, w.Server)
}

func (w *world) serve(t *testing.T, h *netlab.Host) *netlab.Process {
	t.Helper()
	p := h.Start(t, netlab.Program("stepvpn"), "server", w.path("server.toml"))
	p.WaitLog(t, "server is up")
	return p
}

// start starts alice's client.
func (w *world) start(t *testing.T) *netlab.Process {
	t.Helper()
	return w.Alice.Start(t, netlab.Program("stepvpn"), "client", w.path("alice.toml"))
}

func (w *world) client(t *testing.T) *netlab.Process {
	t.Helper()
	p := w.start(t)
	p.WaitLog(t, "tunnel is up")
	return p
}

// whoami returns the address as which the web site sees alice, or "" if it does not answer.
func (w *world) whoami(to netip.Addr) string {
	out, err := w.Alice.Try("curl", "-sS", "--max-time", "3", "http://"+netip.AddrPortFrom(to, 80).String()+"/whoami")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out)
}

// seenAs waits until the web site sees alice with an address.
func (w *world) seenAs(t *testing.T, who string) {
	t.Helper()
	netlab.Eventually(t, limit, "alice is seen as "+who, func() bool { return w.whoami(w.Web.V4) == who })
}

func (w *world) report(t *testing.T, h *netlab.Host, socket string) (r status.Report) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(h.Run(t, netlab.Program("stepvpn"), "status", "-json", "-socket", w.path(socket))), &r))
	return r
}

// state returns everything that a daemon may change on a host.
func state(t *testing.T, h *netlab.Host) string {
	t.Helper()
	return h.Run(t, "bash", "-c", `cat /etc/resolv.conf; stat -c "%A %U %F" /etc/resolv.conf; ip -4 rule; ip -6 rule
		ip -br link | cut -d" " -f1; nft list tables | grep stepvpn
		iptables-save | grep -e ^-A; ip6tables-save | grep -e ^-A; ip -4 route show table all; ip -6 route show table all
		cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding; true`)
}

// strays captures everything that alice sends into the cafe, except packets for a server.
func (w *world) strays(t *testing.T) *netlab.Capture {
	t.Helper()
	return w.Cafe.Capture(t, "br0", fmt.Sprintf(`not arp and (src %v or src %v or src 198.51.100.77) and not port 5555
		and not (ip6 dst net ff02::/16) and not (icmp6 and (ip6[40] >= 133 and ip6[40] <= 136))`, w.Alice.V4, w.Alice.V6))
}

// use does a little of everything that alice does.
func (w *world) use() {
	w.whoami(w.Web.V4)
	w.whoami(w.Web.V6)
	w.Alice.Try("dig", "+tries=1", "+time=1", "@"+w.Cafe.V4.String(), "secret.example")
	w.Alice.Try("curl", "-sS", "--max-time", "1", "--interface", "eth0", "http://"+w.Web.V4.String())
}

func TestEverything(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			w := newWorld(t)
			w.add(t, "alice", "metrics", "127.0.0.1:9587")
			text, err := os.ReadFile(w.path("alice.toml"))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(w.path("alice.toml"), []byte(strings.Replace(string(text), `transport = "udp"`, fmt.Sprintf("transport = %q", network), 1)), 0o600))
			before := []string{state(t, w.Alice), state(t, w.Server)}
			capture := w.strays(t)
			w.use()
			require.Greater(t, len(capture.Stop()), 3, "the search for strays finds them")

			server := w.server(t)
			client := w.client(t)
			capture = w.strays(t)
			w.seenAs(t, w.Server.V4.String())
			require.Equal(t, w.Server.V6.String(), w.whoami(w.Web.V6))
			require.Contains(t, w.Alice.Run(t, "curl", "-4sS", "http://web.example/whoami"), w.Server.V4.String()[:8])
			w.use()

			// The status, for people and for machines, and the metrics agree.
			r := w.report(t, w.Server, "server.sock")
			require.Equal(t, "alice", r.Peers[0].Name)
			require.Greater(t, r.Peers[0].Received.Bytes, uint64(500))
			c := w.report(t, w.Alice, "alice.sock")
			require.Equal(t, "up", c.State)
			require.Equal(t, r.Peers[0].Addresses, c.Peers[0].Addresses)
			require.Contains(t, w.Alice.Run(t, netlab.Program("stepvpn"), "status", "-socket", w.path("alice.sock")), "client: up (")
			metrics := w.Alice.Run(t, "curl", "-sS", "http://127.0.0.1:9587/metrics")
			require.Contains(t, metrics, "stepvpn_up 1\n")
			require.Contains(t, metrics, `direction="received"`)

			// Settings can be read again without an effect on connections.
			server.Signal(syscall.SIGHUP)
			w.seenAs(t, w.Server.V4.String())
			require.NotContains(t, client.Log(), "does not answer")
			require.Less(t, strings.Count(client.Log(), "\n"), 10, "a log that one can read:\n%s", client.Log())

			require.Empty(t, capture.Stop())
			client.Interrupt()
			require.Zero(t, client.Wait(t), client.Log())
			server.Interrupt()
			require.Zero(t, server.Wait(t), server.Log())
			require.Equal(t, before, []string{state(t, w.Alice), state(t, w.Server)})
		})
	}
}

// Whichever process is killed, nothing leaves alice except through the tunnel, and everything
// comes back by itself. 'recover' puts back what nothing else will.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	before := state(t, w.Alice)
	server := w.server(t)
	client := w.client(t)
	w.seenAs(t, w.Server.V4.String())
	capture := w.strays(t)
	server.Kill()
	server.Wait(t)
	w.use()
	require.Empty(t, w.whoami(w.Web.V4))
	w.serve(t, w.Server)
	w.seenAs(t, w.Server.V4.String())

	out, err := w.Alice.Try(netlab.Program("stepvpn"), "recover", "-state", w.path("alice"))
	require.Error(t, err, "a client is running")
	require.Contains(t, out, "is running")
	client.Kill()
	client.Wait(t)
	w.use()
	require.Empty(t, w.whoami(w.Web.V4))
	client = w.client(t)
	w.seenAs(t, w.Server.V4.String())
	client.Kill()
	client.Wait(t)
	w.use()
	require.Empty(t, capture.Stop())
	w.Alice.Run(t, netlab.Program("stepvpn"), "recover", "-state", w.path("alice"))
	require.Equal(t, before, state(t, w.Alice))
	require.Equal(t, w.Alice.V4.String(), w.whoami(w.Web.V4))
}

// Without a kill switch, everything leaves in the clear while there is no tunnel.
func TestNoKillSwitch(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice", "kill_switch", false)
	before := state(t, w.Alice)
	server := w.server(t)
	client := w.client(t)
	w.seenAs(t, w.Server.V4.String())
	server.Kill()
	server.Wait(t)
	w.seenAs(t, w.Alice.V4.String())
	w.serve(t, w.Server)
	w.seenAs(t, w.Server.V4.String())
	client.Interrupt()
	require.Zero(t, client.Wait(t), client.Log())
	require.Equal(t, before, state(t, w.Alice))
}

// The second server of the list takes over. A server that is found by its name is looked up
// again.
func TestAnotherServer(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice", "server", []string{w.Server.V4.String() + ":5555", w.Internet.V4.String() + ":5555"})
	for _, conf := range []string{"all", "default", "eth0"} {
		w.Alice.Write(t, "ipv4/conf/"+conf+"/rp_filter", "1") // each server's answers must find their way back
	}
	server := w.server(t)
	client := w.client(t)
	w.seenAs(t, w.Server.V4.String())
	other := func() *netlab.Process {
		w.set(t, "server.toml", "state", t.TempDir(), "egress", "web0", "status_socket", "", "dns_upstreams", []string{w.Web.V4.String()})
		return w.serve(t, w.Internet)
	}
	second := other()
	server.Kill()
	server.Wait(t)
	w.seenAs(t, "203.0.113.65")
	client.Interrupt()
	require.Zero(t, client.Wait(t), client.Log())
	second.Interrupt()
	require.Zero(t, second.Wait(t), second.Log())

	names := w.Cafe.ServeDNS(t)
	lead := func(to netip.Addr) {
		names.Answer(func(q zone.Query) *dns.Msg {
			m := new(dns.Msg).SetReply(q.Msg)
			if q.Msg.Question[0].Qtype == dns.TypeA {
				rr, err := dns.NewRR(fmt.Sprintf("vpn.example. 1 IN A %v", to))
				require.NoError(t, err)
				m.Answer = []dns.RR{rr}
			}
			return m
		})
	}
	lead(w.Server.V4)
	w.set(t, "server.toml", "egress", "", "state", w.dir)
	server = w.serve(t, w.Server)
	w.set(t, "alice.toml", "server", "vpn.example:5555")
	w.client(t)
	w.seenAs(t, w.Server.V4.String())
	server.Interrupt() // it tells the client, which therefore need not find out
	server.Wait(t)
	other()
	lead(w.Internet.V4)
	w.seenAs(t, "203.0.113.65")
}

// A download goes on while alice gets another address. A client that is started without a
// network waits for one.
func TestMoves(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	w.server(t)
	w.Alice.Run(t, "ip", "link", "set", "eth0", "down")
	client := w.start(t)
	netlab.Eventually(t, limit, "the client has tried", func() bool {
		out, _ := w.Alice.Try(netlab.Program("stepvpn"), "status", "-json", "-socket", w.path("alice.sock"))
		return strings.Contains(out, `"reason":`)
	})
	capture := w.strays(t)
	w.Alice.Run(t, "bash", "-c", fmt.Sprintf("ip link set eth0 up; ip -4 route replace default via %v; ip -6 address replace %v/64 dev eth0; ip -6 route replace default via %v",
		w.Cafe.V4, w.Alice.V6, w.Cafe.V6))
	client.WaitLog(t, "tunnel is up")
	w.seenAs(t, w.Server.V4.String())

	const size = 6_000_000
	file := w.path("file")
	w.Alice.Start(t, "curl", "-sS", "--limit-rate", "1500k", "-o", file, fmt.Sprintf("http://%v/file?bytes=%d", w.Web.V4, size))
	has := func(n int64) func() bool {
		return func() bool { info, err := os.Stat(file); return err == nil && info.Size() >= n }
	}
	netlab.Eventually(t, limit, "the download has begun", has(1))
	w.Alice.Run(t, "bash", "-c", fmt.Sprintf("ip -4 address flush dev eth0; ip -4 address add 198.51.100.77/24 dev eth0; ip -4 route add default via %v", w.Cafe.V4))
	require.False(t, has(size)(), "it has not ended before")
	netlab.Eventually(t, limit, "the download is complete", has(size))
	sum := strings.Fields(w.Alice.Run(t, "sha256sum", file))[0]
	require.Equal(t, site.Hash(size), sum)
	require.Equal(t, "198.51.100.77", w.report(t, w.Server, "server.sock").Peers[0].Endpoint.Addr().String())
	require.Empty(t, capture.Stop())
}

// Some networks go through the tunnel, chosen by the client or the server, and the rest does
// not. Names may be asked for as before.
func TestSomeNetworks(t *testing.T) {
	for name, settings := range map[string][]any{
		"list":   {"routes", []string{"203.0.113.64/27"}, "dns", false},
		"pushed": {"routes", "pushed", "allow_other_dns", true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.Cafe.ServeDNS(t)
			w.add(t, "alice", append(settings, "offloads", false)...)
			before := state(t, w.Alice)
			server := w.server(t, "routes", []string{"203.0.113.64/27"}, "queues", 2, "offloads", false)
			client := w.client(t)
			w.seenAs(t, w.Server.V4.String())
			require.Equal(t, w.Alice.V6.String(), w.whoami(w.Web.V6))
			require.NotEmpty(t, w.Alice.Run(t, "dig", "+short", "@"+w.Cafe.V4.String(), "web.example"))
			server.Kill()
			server.Wait(t)
			require.Empty(t, w.whoami(w.Web.V4))
			require.Equal(t, w.Alice.V6.String(), w.whoami(w.Web.V6))
			client.Interrupt()
			require.Zero(t, client.Wait(t), client.Log())
			require.Equal(t, before, state(t, w.Alice))
		})
	}
}

// A client that is revoked is cut off, and asks no more.
func TestRevoked(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	server := w.server(t)
	w.client(t)
	w.seenAs(t, w.Server.V4.String())
	capture := w.strays(t)
	w.stepvpn(t, "clients", "revoke", "alice", "-registry", w.path("clients"))
	netlab.Eventually(t, limit, "alice is told", func() bool {
		return strings.Contains(w.report(t, w.Alice, "alice.sock").Reason, "revoked")
	})
	w.use()
	require.Empty(t, w.whoami(w.Web.V4))
	require.LessOrEqual(t, strings.Count(server.Log(), "refused"), 1, server.Log())
	require.Empty(t, capture.Stop())
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	w.set(t, "server.toml", "status_socket", w.path("server.sock"))
	run := func(args ...string) string {
		t.Helper()
		p := w.Server.Start(t, netlab.Program("stepvpn"), args...)
		require.Equal(t, 1, p.Wait(t), p.Log())
		return strings.ReplaceAll(p.Log(), w.dir+"/", "")
	}
	require.Equal(t, "stepvpn: there is no file none.toml\n  'stepvpn init server' or 'stepvpn init client' writes one.\n", run("server", w.path("none.toml")))
	require.Contains(t, run("server", w.path("alice.toml")), "client")

	require.NoError(t, os.Rename(w.path("clients"), w.path("clients.old")))
	require.Equal(t, "stepvpn: there is no registry clients\n  'stepvpn init server' makes it, with a key for the server; so does adding the first client.\n",
		run("server", w.path("server.toml")))
	require.NoError(t, os.Rename(w.path("clients.old"), w.path("clients")))
	require.NoError(t, os.Chmod(w.path("server.key"), 0o644))
	require.Contains(t, run("server", w.path("server.toml")), "may be read or changed by users other than its owner")
	require.NoError(t, os.Chmod(w.path("server.key"), 0o600))

	before := state(t, w.Server)
	w.serve(t, w.Server)
	w.set(t, "server.toml", "listen", []string{":5556"})
	require.NotEmpty(t, run("server", w.path("server.toml")), "one is enough")
	require.NotEqual(t, before, state(t, w.Server), "the first one goes on")
}
