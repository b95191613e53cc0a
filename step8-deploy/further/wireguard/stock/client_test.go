package stock_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step8-deploy/status"
)

// These tests run our client, 'stepvpn client alice.conf', against wireguard-go on the lab's
// server, which forwards to the internet.

// A world is the lab with a web site, and a stock server that alice has a file for.
type world struct {
	*netlab.Lab
	dir         string
	alice, keys noise.PrivateKey // alice's and the server's
	psk         *[noise.KeyLen]byte
	stock       *stock
}

const port = 51820

// Addresses in the tunnel.
const (
	aliceV4, aliceV6   = "10.7.0.2", "fd00:7::2"
	serverV4, serverV6 = "10.7.0.1", "fd00:7::1"
)

func newWorld(t *testing.T) *world {
	t.Helper()
	lab := netlab.New(t)
	lab.Web.ServeSite(t)
	w := &world{Lab: lab, dir: t.TempDir(), alice: noise.GenerateKey(), keys: noise.GenerateKey(), psk: &[noise.KeyLen]byte{9, 9}}
	lab.Server.Run(t, "bash", "-c", `echo 1 | tee /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding
		nft -f - <<<'table inet nat { chain post { type nat hook postrouting priority srcnat; oifname eth0 masquerade; }; }'`)
	return w
}

// serve starts the stock server.
func (w *world) serve(t *testing.T) {
	t.Helper()
	w.stock = stockAt(t, w.Server, "wg0", w.settings(), serverV4+"/24", serverV6+"/64")
}

func (w *world) settings() string {
	return interfaceOf(w.keys, fmt.Sprintf("ListenPort = %d", port)) +
		peerOf(w.alice.Public(), w.psk, fmt.Sprintf("AllowedIPs = %s/32, %s/128", aliceV4, aliceV6))
}

// end ends the stock server at once.
func (w *world) end(t *testing.T) {
	t.Helper()
	w.stock.p.Kill()
	w.stock.p.Wait(t)
}

// everything is a peer for all packets, at the server's IPv4 address.
func (w *world) everything() string {
	return peerOf(w.keys.Public(), w.psk, fmt.Sprintf("AllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = %v:%d", w.Server.V4, port))
}

// write writes alice's file: lines of its Interface, and peers.
func (w *world) write(t *testing.T, more string, peers ...string) (file string) {
	t.Helper()
	file = filepath.Join(w.dir, "alice.conf")
	text := interfaceOf(w.alice, fmt.Sprintf("Address = %s/32, %s/128\n%s", aliceV4, aliceV6, more)) + strings.Join(peers, "\n")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// start starts our client on alice.
func (w *world) start(t *testing.T, file string) *netlab.Process {
	t.Helper()
	return w.Alice.Start(t, netlab.Program("stepvpn"), "client", file)
}

// client is start, and waits for the first session.
func (w *world) client(t *testing.T, file string) *netlab.Process {
	t.Helper()
	p := w.start(t, file)
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
func (w *world) seenAs(t *testing.T, who netip.Addr) {
	t.Helper()
	to := w.Web.V4
	if who.Is6() {
		to = w.Web.V6
	}
	netlab.Eventually(t, limit, "alice is seen as "+who.String(), func() bool { return w.whoami(to) == who.String() })
}

func (w *world) report(t *testing.T) (r status.Report) {
	t.Helper()
	netlab.Eventually(t, limit, "the client answers", func() bool {
		out, err := w.Alice.Try(netlab.Program("stepvpn"), "status", "-json", "-socket", "/run/stepvpn/client.sock")
		return err == nil && json.Unmarshal([]byte(out), &r) == nil
	})
	return r
}

// state returns everything that a client may change on its host.
func state(t *testing.T, h *netlab.Host) string {
	t.Helper()
	return h.Run(t, "bash", "-c", `cat /etc/resolv.conf; stat -c "%A %U %F" /etc/resolv.conf; ip -4 rule; ip -6 rule
		ip -br link | cut -d" " -f1; nft list tables | grep stepvpn
		ip -4 route show table all; ip -6 route show table all; true`)
}

// strays captures everything that alice sends into the cafe, except packets for the server's
// port.
func (w *world) strays(t *testing.T) *netlab.Capture {
	t.Helper()
	return w.Cafe.Capture(t, "br0", fmt.Sprintf(`not arp and (src %v or src %v) and not (udp dst port %d and (dst %v or dst %v))
		and not (ip6 dst net ff02::/16) and not (icmp6 and (ip6[40] >= 133 and ip6[40] <= 136))`, w.Alice.V4, w.Alice.V6, port, w.Server.V4, w.Server.V6))
}

// use does a little of everything that alice does.
func (w *world) use() {
	w.whoami(w.Web.V4)
	w.whoami(w.Web.V6)
	w.Alice.Try("dig", "+tries=1", "+time=1", "@"+w.Cafe.V4.String(), "secret.example")
	w.Alice.Try("curl", "-sS", "--max-time", "1", "--interface", "eth0", "http://"+w.Web.V4.String())
}

// All of alice's traffic goes through a stock server, of both families, and nothing past it;
// status says what is known of the session; at the end the host is as before.
func TestClientOfStockServer(t *testing.T) {
	w := newWorld(t)
	before := state(t, w.Alice)
	capture := w.strays(t)
	w.use()
	require.Greater(t, len(capture.Stop()), 3, "the search for strays finds them")

	// Only the client's own socket reaches the server's port past the tunnel.
	knock := func() []string {
		capture := w.Cafe.Capture(t, "br0", fmt.Sprintf("udp dst port %d and udp[8:4] = 0x6b6e6f63", port)) // "knoc"
		w.Alice.Run(t, "bash", "-c", fmt.Sprintf("echo knock >/dev/udp/%v/%d", w.Server.V4, port))
		return capture.Stop()
	}
	require.NotEmpty(t, knock(), "the search for knocks finds them")

	w.serve(t)
	client := w.client(t, w.write(t, "DNS = "+serverV4+", corp.example", w.everything()))
	require.Empty(t, knock())
	capture = w.strays(t)
	w.seenAs(t, w.Server.V4)
	w.seenAs(t, w.Server.V6)
	w.use()
	require.Contains(t, w.Alice.Run(t, "cat", "/etc/resolv.conf"), "nameserver "+serverV4)
	require.Contains(t, w.Alice.Run(t, "cat", "/etc/resolv.conf"), "corp.example")

	r := w.report(t)
	require.Equal(t, "up", r.State)
	require.Equal(t, "closed", r.KillSwitch)
	require.Equal(t, 1420, r.MTU)
	require.Len(t, r.Peers, 1)
	p := r.Peers[0]
	require.Equal(t, noise.FormatKey(w.keys.Public()), p.Name)
	require.Equal(t, netip.AddrPortFrom(w.Server.V4, port), p.Endpoint)
	require.False(t, p.Handshake.IsZero())
	require.Equal(t, "up", p.State)
	require.Equal(t, "[0.0.0.0/0 ::/0]", fmt.Sprint(p.AllowedIPs))
	require.Greater(t, p.Received.Bytes, uint64(500))
	require.NotEqual(t, "0", w.stock.show(t, 4), "wg show knows of the handshake")
	text := w.Alice.Run(t, netlab.Program("stepvpn"), "status", "-socket", "/run/stepvpn/client.sock")
	require.Contains(t, text, "is up, by the age of its handshake: a server of the WireGuard protocol answers no probe")

	require.Empty(t, capture.Stop())
	require.Less(t, strings.Count(client.Log(), "\n"), 10, "a log that one can read:\n%s", client.Log())
	client.Interrupt()
	require.Zero(t, client.Wait(t), client.Log())
	require.Equal(t, before, state(t, w.Alice))
}
