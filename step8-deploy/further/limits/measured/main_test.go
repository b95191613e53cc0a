// Package measured_test measures what limits do to traffic: iperf3, ping and nft are the judges.
package measured_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step8-deploy/status"
)

func TestMain(m *testing.M) { netlab.Main(m, "../../../cmd/stepvpn") }

const limit = 60 * time.Second // bounds each wait; a busy machine is slow

// A world is the lab with a server and alice's client. Web can be reached by two ways: near is
// its address in the lab, and far is behind a wire of 25 ms in each direction.
type world struct {
	*netlab.Lab
	t         *testing.T
	dir       string
	near, far netip.Addr
	server    *netlab.Process
}

func newWorld(t *testing.T, settings ...any) *world {
	t.Helper()
	w := &world{Lab: netlab.New(t), t: t, dir: t.TempDir(), far: netip.MustParseAddr("192.0.2.130")}
	w.near = w.Web.V4
	netlab.Wire(t, "far0", 25*time.Millisecond, w.Server, netip.MustParsePrefix("192.0.2.129/30"), w.Web, netip.PrefixFrom(w.far, 30))
	w.Web.ServeDNS(t)
	w.stepvpn("init", "server", "-dir", w.dir)
	w.set("server.toml", append([]any{"state", w.dir, "status_socket", w.path("server.sock"), "dns_upstreams", []string{w.Web.V4.String()}, "egress", []string{"eth0", "far0"}}, settings...)...)
	w.serve()
	return w
}

func (w *world) serve() {
	w.t.Helper()
	w.server = w.Server.Start(w.t, netlab.Program("stepvpn"), "server", w.path("server.toml"))
	w.server.WaitLog(w.t, "server is up")
}

// restart kills the server when it has saved what was used, and starts another one.
func (w *world) restart() {
	w.t.Helper()
	netlab.Eventually(w.t, limit, "what was used is saved", func() bool {
		text, _ := os.ReadFile(w.path("worker/pool/used"))
		return strings.Contains(string(text), " 5")
	})
	w.server.Kill()
	w.server.Wait(w.t)
	w.serve()
}

// wireguardGo is where shared/lab/setup.sh puts it.
var wireguardGo, _ = filepath.Abs("../../../../.cache/wireguard-go/wireguard")

// stock connects a stock client on a host, with a file that the server has made.
func (w *world) stock(h *netlab.Host, file string) {
	w.t.Helper()
	h.Start(w.t, "env", "LOG_LEVEL=verbose", wireguardGo, "-f", "wg0").WaitLog(w.t, "UAPI listener started")
	text, err := os.ReadFile(file)
	require.NoError(w.t, err)
	plain := regexp.MustCompile(`(?m)^(Address|DNS|MTU) = .*\n`).ReplaceAll(text, nil) // which are wg-quick's
	require.NoError(w.t, os.WriteFile(file+".wg", plain, 0o600))
	h.Run(w.t, "wg", "setconf", "wg0", file+".wg")
	addrs := regexp.MustCompile(`(?m)^Address = ([0-9.]+)`).FindSubmatch(text)
	h.Run(w.t, "ip", "address", "add", string(addrs[1])+"/32", "dev", "wg0")
	h.Run(w.t, "ip", "link", "set", "wg0", "mtu", "1420", "up")
	h.Run(w.t, "ip", "route", "add", w.near.String()+"/32", "dev", "wg0")
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// stepvpn runs the program as the server's operator does.
func (w *world) stepvpn(args ...string) string {
	w.t.Helper()
	return w.Server.Run(w.t, netlab.Program("stepvpn"), args...)
}

// limit changes a client's limits, which are in force when it returns.
func (w *world) limit(name string, flags ...string) string {
	w.t.Helper()
	return w.stepvpn(append([]string{"clients", "limit", name, "-registry", w.path("clients")}, flags...)...)
}

// set changes settings of a file: key, value, key, value...
func (w *world) set(file string, settings ...any) {
	w.t.Helper()
	text, err := os.ReadFile(w.path(file))
	require.NoError(w.t, err)
	for i := 0; i < len(settings); i += 2 {
		value, err := json.Marshal(settings[i+1]) // JSON is valid TOML for these values
		require.NoError(w.t, err)
		line := regexp.MustCompile(fmt.Sprintf(`(?m)^(# )?%s = .*$`, settings[i]))
		require.Regexp(w.t, line, string(text))
		text = line.ReplaceAllLiteral(text, fmt.Appendf(nil, "%s = %s", settings[i], value))
	}
	require.NoError(w.t, os.WriteFile(w.path(file), text, 0o600))
}

// client adds a client, and starts it on a host.
func (w *world) client(name string, on *netlab.Host) *netlab.Process {
	w.t.Helper()
	w.stepvpn("clients", "add", name, "-registry", w.path("clients"), "-key", w.path("server.key"),
		"-server", w.Server.V4.String()+":5555", "-out", w.path(name+".toml"))
	w.set(name+".toml", "state", w.path(name), "status_socket", w.path(name+".sock"))
	p := on.Start(w.t, netlab.Program("stepvpn"), "client", w.path(name+".toml"))
	p.WaitLog(w.t, "tunnel is up")
	return p
}

// report returns what a daemon on a host says.
func (w *world) report(h *netlab.Host, socket string) (r status.Report) {
	w.t.Helper()
	require.NoError(w.t, json.Unmarshal([]byte(h.Run(w.t, netlab.Program("stepvpn"), "status", "-json", "-socket", w.path(socket))), &r))
	return r
}
