package stock_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step4-crypto/noise"
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
	settings string
	addrs    []string
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
	p := new(phone)
	for _, line := range regexp.MustCompile(`(?m)^Address = (.*)$`).FindAllStringSubmatch(string(text), -1) {
		p.addrs = append(p.addrs, strings.Split(line[1], ", ")...)
	}
	require.NotEmpty(t, p.addrs)
	p.settings = h.Run(t, "wg-quick", "strip", conf)
	p.stock = stockAt(t, h, dev, p.settings, p.addrs...)
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

// The program of the stock client and our status agree about how much has passed. Its counts
// are of messages: 32 bytes more than a packet, and its padding, and those of handshakes.
func TestCountsAgree(t *testing.T) {
	v := newVPN(t)
	file := v.phone(t, "phone")
	v.serve(t)
	bob := v.stockClient(t, v.Bob, "wg0", file, nil)
	v.Bob.Run(t, "ping", "-c", "20", "-i", "0.05", "-s", "1000", "-W", "5", v.Web.V4.String())
	p, there := v.peer(t, "phone")
	require.True(t, there)
	for field, flow := range map[int]status.Flow{5: p.Sent, 6: p.Received} {
		require.GreaterOrEqual(t, flow.Packets, uint64(20))
		count, err := strconv.ParseUint(bob.show(t, field), 10, 64)
		require.NoError(t, err)
		least := flow.Bytes + flow.Packets*32
		require.GreaterOrEqual(t, count, least)
		require.LessOrEqual(t, count, least+flow.Packets*15+3*148+10*32)
	}
}

// A stock client comes by the server's IPv6 address, and without a pre-shared key, too.
func TestStockClientOverIPv6(t *testing.T) {
	v := newVPN(t)
	key := noise.GenerateKey()
	v.add(t, "phone", "-public-key", noise.FormatKey(key.Public()), "-addr", "10.8.0.9,fd00:8::9")
	v.serve(t)
	v.stockClient(t, v.Bob, "wg0", v.confFor(t, key, "10.8.0.9/32, fd00:8::9/128"), func(text string) string {
		return strings.Replace(text, v.Server.V4.String(), "["+v.Server.V6.String()+"]", 1)
	})
	v.seenAs(t, v.Bob, v.Server.V4)
	v.seenAs(t, v.Bob, v.Server.V6)
	p, _ := v.peer(t, "phone")
	require.Equal(t, v.Bob.V6, p.Endpoint.Addr())
}

// A stock client moves to another address and port, and its session goes on there.
func TestStockClientMoves(t *testing.T) {
	v := newVPN(t)
	file := v.phone(t, "phone")
	v.serve(t)
	bob := v.stockClient(t, v.Bob, "wg0", file, nil)
	v.seenAs(t, v.Bob, v.Server.V4)
	before, _ := v.peer(t, "phone")
	const moved = "198.51.100.99"
	v.Bob.Run(t, "bash", "-c", fmt.Sprintf(`echo 1 >/proc/sys/net/ipv4/conf/eth0/promote_secondaries
		ip address add %s/24 dev eth0; ip address del %v/24 dev eth0; ip route replace default via %v`, moved, v.Bob.V4, v.Cafe.V4))
	bob.Run(t, "wg", "set", "wg0", "listen-port", "40404")
	v.seenAs(t, v.Bob, v.Server.V4)
	after, _ := v.peer(t, "phone")
	require.Equal(t, moved+":40404", after.Endpoint.String())
	require.Equal(t, before.Handshake.Unix(), after.Handshake.Unix(), "by the same keys")
}

// Three of ten datagrams are lost, each way, and a stock client gets in all the same.
func TestStockClientThroughLoss(t *testing.T) {
	v := newVPN(t)
	file := v.phone(t, "phone")
	v.serve(t)
	v.Cafe.Run(t, "nft", fmt.Sprintf(`table inet loss { chain forward { type filter hook forward priority 0
		udp sport %d numgen random mod 10 < 3 counter drop
		udp dport %d numgen random mod 10 < 3 counter drop
	}; }`, v.Port, v.Port))
	v.stockClient(t, v.Bob, "wg0", file, nil)
	netlab.Eventually(t, 2*limit, "the handshake gets through, and a packet after it", func() bool {
		v.Bob.Try("ping", "-c", "1", "-W", "1", v.Web.V4.String())
		_, there := v.peer(t, "phone")
		return there
	})
	out, _ := v.Bob.Try("ping", "-c", "60", "-i", "0.05", "-W", "2", v.Web.V4.String())
	m := regexp.MustCompile(`(\d+) received`).FindStringSubmatch(out)
	require.NotNil(t, m, out)
	got, err := strconv.Atoi(m[1])
	require.NoError(t, err)
	require.Greater(t, got, 10, out)
	require.Less(t, got, 60, "the detector: there is a loss")
}

// Beside a client of ours that sends as much as it can, a stock client comes in, and its pings
// are answered.
func TestStockClientBesideLoad(t *testing.T) {
	v := newVPN(t)
	file := v.phone(t, "phone")
	v.add(t, "alice")
	v.set(t, "alice.toml", "state", v.path("alice"), "status_socket", v.path("alice.sock"))
	v.serve(t)
	alice := v.Alice.Start(t, netlab.Program("stepvpn"), "client", v.path("alice.toml"))
	alice.WaitLog(t, "tunnel is up")
	v.Web.Start(t, "iperf3", "-s")
	var load *netlab.Process
	netlab.Eventually(t, limit, "alice sends", func() bool {
		if load == nil || load.Ended() { // the server may not be there yet
			load = v.Alice.Start(t, "iperf3", "-c", v.Web.V4.String(), "-t", "60", "-P", "4", "--forceflush")
		}
		return strings.Contains(load.Log(), "bits/sec")
	})
	v.stockClient(t, v.Bob, "wg0", file, nil)
	v.Bob.Run(t, "ping", "-c", "3", "-W", "10", v.Web.V4.String())
	require.False(t, load.Ended(), load.Log())
}

// While the server changes its own key, it has three. A stock client comes in as before, and does
// not keep the operator from dropping the old one, which it never used.
func TestStockClientWhileTheKeyChanges(t *testing.T) {
	v := newVPN(t)
	file := v.phone(t, "phone")
	v.stepvpn(t, "rotate-key", "-settings", v.path(settingsFile))
	server := v.serve(t)
	v.stockClient(t, v.Bob, "wg0", file, nil)
	v.seenAs(t, v.Bob, v.Server.V4)
	p, there := v.peer(t, "phone")
	require.True(t, there)
	require.Equal(t, "WireGuard", p.Protocol)
	require.Contains(t, v.stepvpn(t, "status", "-socket", v.path(socketFile)), "clients that still use the old one: none that is connected")
	v.stepvpn(t, "rotate-key", "-finish", "-settings", v.path(settingsFile))

	server.Interrupt()
	require.Zero(t, server.Wait(t), server.Log())
	v.serve(t)
	v.seenAs(t, v.Bob, v.Server.V4)
}
