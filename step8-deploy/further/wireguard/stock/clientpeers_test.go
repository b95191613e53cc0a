package stock_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step8-deploy/further/wireguard/conf"
	"stepvpn/step8-deploy/status"
)

// These tests are about which packets go into the tunnel, and to which peer.

// Two stock servers at once, each for its own networks, and a third one that does not answer. One
// that ends does not disturb the other; a packet that one of them sends with the other's address
// is dropped.
func TestClientOfSeveralPeers(t *testing.T) {
	w := newWorld(t)
	w.serve(t)
	office, dead := noise.GenerateKey(), noise.GenerateKey()
	second := func() *stock {
		s := stockAt(t, w.Internet, "wg1", interfaceOf(office, "ListenPort = 51821")+peerOf(w.alice.Public(), nil, fmt.Sprintf("AllowedIPs = %s/32, %s/128", aliceV4, aliceV6)), "10.8.0.1/24", "203.0.113.200/32")
		w.Internet.Run(t, "ip", "route", "replace", aliceV4, "dev", "wg1")
		return s
	}
	internet := second()
	w.client(t, w.write(t, "", w.everything(),
		peerOf(office.Public(), nil, fmt.Sprintf("AllowedIPs = 10.8.0.0/24\nPersistentKeepalive = 1\nEndpoint = %v:51821", w.Internet.V4)),
		peerOf(dead.Public(), nil, fmt.Sprintf("AllowedIPs = 10.9.0.0/24\nEndpoint = %v:9", w.Web.V4))))
	pings := func(to string) bool { _, err := w.Alice.Try("ping", "-c1", "-W2", to); return err == nil }
	reaches := func(to string) {
		t.Helper()
		netlab.Eventually(t, 2*limit, "alice reaches "+to, func() bool { return pings(to) })
	}
	w.seenAs(t, w.Server.V4)
	reaches("10.8.0.1")
	require.False(t, pings("10.9.0.1"))

	r := w.report(t)
	require.Equal(t, "degraded", r.State)
	netlab.Eventually(t, limit, "the status says which peer does not answer", func() bool {
		r = w.report(t)
		return strings.HasPrefix(r.Reason, "1 of 3 peers have no session: ") && strings.Contains(r.Reason, w.Web.V4.String())
	})
	states := func() (list []string) {
		for _, key := range []noise.PrivateKey{w.keys, office, dead} {
			for _, p := range r.Peers {
				if p.Name == noise.FormatKey(key.Public()) {
					list = append(list, p.State)
				}
			}
		}
		return list
	}
	require.Equal(t, []string{status.Up, status.Up}, states()[:2])
	require.NotEqual(t, status.Up, states()[2])
	require.NotZero(t, r.Drops["no-session"], "the ping to the dead one")

	// 203.0.113.200 is in the first peer's AllowedIPs, not in the second's.
	require.Zero(t, r.Drops["not-allowed"])
	_, err := w.Internet.Try("ping", "-c2", "-W1", "-I", "203.0.113.200", aliceV4)
	require.Error(t, err)
	require.EqualValues(t, 2, w.report(t).Drops["not-allowed"])
	w.Internet.Run(t, "ping", "-c1", "-W5", "-I", "10.8.0.1", aliceV4)

	internet.p.Kill()
	internet.p.Wait(t)
	require.Equal(t, w.Server.V4.String(), w.whoami(w.Web.V4))
	second()
	reaches("10.8.0.1")
	require.Equal(t, w.Server.V4.String(), w.whoami(w.Web.V4))
}

// As many peers as a file may have, of which one answers: that one is not disturbed, and the others
// are all asked.
func TestClientOfManyPeers(t *testing.T) {
	w := newWorld(t)
	w.serve(t)
	peers := []string{w.everything()}
	for i := 1; i < conf.MaxPeers; i++ {
		peers = append(peers, peerOf(noise.GenerateKey().Public(), nil, fmt.Sprintf("AllowedIPs = 10.9.%d.0/24\nEndpoint = %v:%d", i, w.Web.V4, 1000+i)))
	}
	asked := w.Cafe.Capture(t, "br0", fmt.Sprintf("udp and src host %v and dst host %v and udp[8] = 1", w.Alice.V4, w.Web.V4))
	client := w.client(t, w.write(t, "", peers...))
	w.seenAs(t, w.Server.V4)
	require.Contains(t, w.Alice.Run(t, "ping", "-i", "0.2", "-c", "50", "-W", "5", w.Web.V4.String()), " 0% packet loss")
	r := w.report(t)
	require.Len(t, r.Peers, conf.MaxPeers)
	require.Equal(t, 1, r.Connected())
	require.Contains(t, r.Reason, fmt.Sprintf("%d of %d peers have no session", conf.MaxPeers-1, conf.MaxPeers))
	text := strings.Join(asked.Stop(), "\n")
	for i := 1; i < conf.MaxPeers; i++ {
		require.Contains(t, text, fmt.Sprintf(" > %v.%d: ", w.Web.V4, 1000+i))
	}
	require.Less(t, strings.Count(client.Log(), "\n"), 15, "a log that one can read:\n%s", client.Log())
	client.Interrupt()
	require.Zero(t, client.Wait(t), client.Log())
}

// Only the networks in AllowedIPs go into the tunnel, or nowhere; names are looked up as before.
func TestClientForSomeNetworks(t *testing.T) {
	w := newWorld(t)
	w.Cafe.ServeDNS(t)
	before := state(t, w.Alice)
	w.serve(t)
	client := w.client(t, w.write(t, "", peerOf(w.keys.Public(), w.psk, fmt.Sprintf("AllowedIPs = 203.0.113.64/27, %s/32\nEndpoint = %v:%d", serverV4, w.Server.V4, port))))
	w.seenAs(t, w.Server.V4)
	require.Equal(t, w.Alice.V6.String(), w.whoami(w.Web.V6))
	require.NotEmpty(t, w.Alice.Run(t, "dig", "+short", "@"+w.Cafe.V4.String(), "web.example"))
	w.end(t)
	require.Empty(t, w.whoami(w.Web.V4))
	require.Equal(t, w.Alice.V6.String(), w.whoami(w.Web.V6))
	client.Interrupt()
	require.Zero(t, client.Wait(t), client.Log())
	require.Equal(t, before, state(t, w.Alice))
}

// Names are asked where the file says, through the tunnel (by a server at an IPv6 address), even if only some networks go into it;
// and nobody else can be asked.
func TestClientResolver(t *testing.T) {
	w := newWorld(t)
	cafe, server := w.Cafe.ServeDNS(t), w.Server.ServeDNS(t)
	w.serve(t)
	w.client(t, w.write(t, "DNS = "+serverV4, peerOf(w.keys.Public(), w.psk, fmt.Sprintf("AllowedIPs = 10.7.0.0/24\nEndpoint = [%v]:%d", w.Server.V6, port))))
	netlab.Eventually(t, limit, "names are found", func() bool {
		out, err := w.Alice.Try("dig", "+short", "+tries=1", "web.example")
		return err == nil && strings.Contains(out, w.Web.V4.String())
	})
	require.NotEmpty(t, server.Questions())
	_, err := w.Alice.Try("dig", "+tries=1", "+time=1", "@"+w.Cafe.V4.String(), "secret.example")
	require.Error(t, err)
	require.Empty(t, cafe.Questions())
}

// A file that sends everything into the tunnel, and names no resolver: programs ask the same
// resolvers as before, but through the tunnel. One on the local network hears nothing.
func TestClientWithoutResolver(t *testing.T) {
	w := newWorld(t)
	w.Cafe.ServeDNS(t)
	w.Cafe.Run(t, "ip", "address", "add", "192.168.44.1/24", "dev", "br0")
	w.Alice.Run(t, "ip", "address", "add", "192.168.44.10/24", "dev", "eth0")
	const local = "dig +tries=1 +time=1 @192.168.44.1 secret.example"
	asked := func() *netlab.Capture { return w.Cafe.Capture(t, "br0", "dst host 192.168.44.1 and port 53") }
	capture := asked()
	w.Alice.Try("sh", "-c", local)
	require.NotEmpty(t, capture.Stop(), "the search for queries finds them")

	w.serve(t)
	w.client(t, w.write(t, "", w.everything()))
	w.seenAs(t, w.Server.V4)
	strays, capture := w.strays(t), asked()
	require.Contains(t, w.Alice.Run(t, "dig", "+short", "web.example"), w.Web.V4.String(), "the cafe's resolver answers, through the tunnel")
	for _, more := range []string{"", " +tcp", " -b 192.168.44.10"} {
		_, err := w.Alice.Try("sh", "-c", local+more)
		require.Error(t, err)
	}
	w.Alice.Run(t, "ping", "-c1", "-W5", "192.168.44.1")
	require.Empty(t, capture.Stop())
	require.Empty(t, strays.Stop())
	require.Contains(t, strings.Join(w.report(t).Notes, "\n"), "names no resolver (DNS)")

	w.end(t)
	capture = asked()
	w.Alice.Try("sh", "-c", local)
	require.Empty(t, capture.Stop(), "without a session")
}
