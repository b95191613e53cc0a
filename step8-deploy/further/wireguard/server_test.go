package wireguard

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step8-deploy/status"
)

// These tests run our server, 'stepvpn server server.toml' with wireguard = true, and stock
// clients: wireguard-go, with the files that 'stepvpn clients add -wireguard' prints.

// A vpn is the lab with a web site, and our server's settings.
type vpn struct {
	*netlab.Lab
	site *netlab.Site
	dir  string
}

// Names in the folder of settings.
const (
	settingsFile = "server.toml"
	socketFile   = "server.sock"
)

func newVPN(t *testing.T) *vpn {
	t.Helper()
	lab := netlab.New(t)
	v := &vpn{Lab: lab, site: lab.Web.ServeSite(t), dir: t.TempDir()}
	lab.Web.ServeDNS(t)
	v.stepvpn(t, "init", "server", "-dir", v.dir)
	v.set(t, settingsFile, "wireguard", true, "state", v.dir, "dns_upstreams", []string{v.Web.V4.String()}, "status_socket", v.path(socketFile))
	return v
}

func (v *vpn) path(name string) string { return filepath.Join(v.dir, name) }

// stepvpn runs the program as the server's operator does.
func (v *vpn) stepvpn(t *testing.T, args ...string) string {
	t.Helper()
	return v.Server.Run(t, netlab.Program("stepvpn"), args...)
}

// set changes settings of a file: key, value, key, value...
func (v *vpn) set(t *testing.T, file string, settings ...any) {
	t.Helper()
	text, err := os.ReadFile(v.path(file))
	require.NoError(t, err)
	for i := 0; i < len(settings); i += 2 {
		value, err := json.Marshal(settings[i+1]) // JSON is valid TOML for these values
		require.NoError(t, err)
		line := regexp.MustCompile(fmt.Sprintf(`(?m)^(# )?%s = .*$`, settings[i]))
		require.Regexp(t, line, string(text))
		text = line.ReplaceAllLiteral(text, fmt.Appendf(nil, "%s = %s", settings[i], value))
	}
	require.NoError(t, os.WriteFile(v.path(file), text, 0o600))
}

// serve starts the server.
func (v *vpn) serve(t *testing.T) *netlab.Process {
	t.Helper()
	p := v.Server.Start(t, netlab.Program("stepvpn"), "server", v.path(settingsFile))
	p.WaitLog(t, "server is up")
	return p
}

// add registers a client, and returns the name of its file.
func (v *vpn) add(t *testing.T, name string, flags ...string) (file string) {
	t.Helper()
	file = v.path(name + ".toml")
	v.stepvpn(t, append([]string{"clients", "add", name, "-settings", v.path(settingsFile), "-server", v.Server.V4.String(), "-out", file}, flags...)...)
	return file
}

// A phone is a stock client: wireguard-go on a host, with a file that our server has printed.
type phone struct {
	*stock
	file  string
	addrs []string
}

// phone registers a stock client.
func (v *vpn) phone(t *testing.T, name string) (file string) { return v.add(t, name, "-wireguard") }

// stockClient starts a stock client with a file, after change has changed its text.
func (v *vpn) stockClient(t *testing.T, h *netlab.Host, dev, file string, change func(string) string) *phone {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	if change != nil {
		text = []byte(change(string(text)))
	}
	conf := filepath.Join(t.TempDir(), dev+".conf")
	require.NoError(t, os.WriteFile(conf, text, 0o600))
	p := &phone{file: conf}
	for _, line := range regexp.MustCompile(`(?m)^Address = (.*)$`).FindAllStringSubmatch(string(text), -1) {
		p.addrs = append(p.addrs, strings.Split(line[1], ", ")...)
	}
	require.NotEmpty(t, p.addrs)
	p.stock = stockAt(t, h, dev, h.Run(t, "wg-quick", "strip", conf), p.addrs...)
	for _, to := range []string{v.Web.V4.String(), "10.8.0.1"} {
		h.Run(t, "ip", "route", "replace", to, "dev", dev, "src", p.v4().String())
	}
	for _, to := range []string{v.Web.V6.String(), "fd00:8::1"} {
		h.Run(t, "ip", "-6", "route", "replace", to, "dev", dev)
	}
	return p
}

func (p *phone) v4() netip.Addr { return netip.MustParsePrefix(p.addrs[0]).Addr() }

// seenAs waits until the web site sees a client as an address.
func (v *vpn) seenAs(t *testing.T, h *netlab.Host, who netip.Addr) {
	t.Helper()
	to := v.Web.V4
	if who.Is6() {
		to = v.Web.V6
	}
	netlab.Eventually(t, limit, h.Name+" is seen as "+who.String(), func() bool { return v.sees(h, to) == who.String() })
}

// sees returns as whom the web site sees a client, or "" if it does not answer.
func (v *vpn) sees(h *netlab.Host, to netip.Addr) string {
	out, err := h.Try("curl", "-sS", "--max-time", "3", "http://"+netip.AddrPortFrom(to, 80).String()+"/whoami")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out)
}

func (v *vpn) report(t *testing.T) (r status.Report) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(v.stepvpn(t, "status", "-json", "-socket", v.path(socketFile))), &r))
	return r
}

// peer returns what the status says of a client.
func (v *vpn) peer(t *testing.T, name string) (status.Peer, bool) {
	t.Helper()
	for _, p := range v.report(t).Peers {
		if p.Name == name {
			return p, true
		}
	}
	return status.Peer{}, false
}

// A stock client and ours are served at once, on one port, in both families, with names; the
// stock one's program agrees with our status about the handshake and the bytes. Both are
// revoked live.
func TestStockClientBesideOurs(t *testing.T) {
	v := newVPN(t)
	file := v.phone(t, "phone")
	v.add(t, "alice")
	v.set(t, "alice.toml", "state", v.path("alice"), "status_socket", v.path("alice.sock"))
	server := v.serve(t)
	bob := v.stockClient(t, v.Bob, "wg0", file, nil)
	alice := v.Alice.Start(t, netlab.Program("stepvpn"), "client", v.path("alice.toml"))
	alice.WaitLog(t, "tunnel is up")
	for _, h := range []*netlab.Host{v.Bob, v.Alice} {
		v.seenAs(t, h, v.Server.V4)
		v.seenAs(t, h, v.Server.V6)
	}
	require.Contains(t, v.Bob.Run(t, "dig", "+short", "@10.8.0.1", "web.example"), v.Web.V4.String())
	v.Bob.Run(t, "ping", "-c", "3", "-i", "0.2", "-W", "5", v.Web.V4.String())

	p, there := v.peer(t, "phone")
	require.True(t, there)
	require.Equal(t, "WireGuard", p.Protocol)
	require.Equal(t, bob.show(t, 4), fmt.Sprint(p.Handshake.Unix()), "the last handshake")
	require.Greater(t, p.Received.Bytes, uint64(500))

	for _, name := range []string{"phone", "alice"} {
		v.stepvpn(t, "clients", "revoke", name, "-settings", v.path(settingsFile))
		_, there = v.peer(t, name)
		require.False(t, there)
	}
	require.Empty(t, v.sees(v.Bob, v.Web.V4))
	server.WaitLog(t, "a client is refused")
	require.NotContains(t, server.Log(), "level=ERROR")
}
