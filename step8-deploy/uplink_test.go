package step8_test

import (
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// forwarder returns what the server has set up on its host for its clients.
func (w *world) forwarder(t *testing.T) string {
	t.Helper()
	return w.Server.Run(t, "bash", "-c", `for tool in iptables ip6tables; do for table in raw mangle filter nat; do
			$tool -t $table -S | grep STEPVPN- | sed "s/^/$tool $table /"; done; done
		ip -o link show vpn0 | grep -o -e 'mtu [0-9]*' -e '[<,]UP[,>]'; ip -br addr show vpn0; ip route show dev vpn0; ip -6 route show dev vpn0
		cd /proc/sys/net; grep . ipv4/ip_forward ipv4/conf/{vpn0,eth0}/forwarding ipv6/conf/all/forwarding netfilter/nf_conntrack_tcp_be_liberal; true`)
}

// A held connection is a connection of alice's to the web site, with a little data now and
// then, and right after a change of the host between them.
type held struct {
	network    string
	alice, web net.Conn
}

func (w *world) hold(t *testing.T) (list []*held) {
	t.Helper()
	for _, site := range []string{w.Web.V4.String(), w.Web.V6.String()} {
		var listener net.Listener
		var err error
		w.Web.Do(func() { listener, err = net.Listen("tcp", net.JoinHostPort(site, "8080")) })
		require.NoError(t, err)
		defer listener.Close()
		h := &held{network: site}
		w.Alice.Do(func() { h.alice, err = net.DialTimeout("tcp", listener.Addr().String(), limit) })
		require.NoError(t, err)
		t.Cleanup(func() { h.alice.Close() })
		h.web, err = listener.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { h.web.Close() })
		list = append(list, h)
	}
	return list
}

// send makes the web site send something, and receive makes alice receive it.
func (h *held) send(t *testing.T) {
	t.Helper()
	_, err := h.web.Write([]byte("x"))
	require.NoError(t, err, h.network)
}

func (h *held) receive(t *testing.T) {
	t.Helper()
	require.NoError(t, h.alice.SetReadDeadline(time.Now().Add(limit)))
	n, err := h.alice.Read(make([]byte, 1))
	require.NoError(t, err, h.network)
	require.Equal(t, 1, n)
}

// Others change the server's host: soon afterwards, everything is as before, existing
// connections go on, and the log says it once. The server is stopped while it is changed, so
// that it can't be faster; the kernel goes on.
func TestServerHostKept(t *testing.T) {
	const flush = `for tool in iptables ip6tables; do for table in raw mangle filter nat; do $tool -t $table -F; $tool -t $table -X; done; done`
	type way struct{ do, says string }
	firewall := func(do string) way { return way{do, "the firewall's rules of the tunnel"} }
	setting := func(key string) way { return way{"sysctl -qw " + key + "=0", "sysctl -w " + key + "=1 (was 0)"} }
	device := func(do, what string) way { return way{do, what} }
	for name, ways := range map[string][]way{
		"firewall": {
			firewall("nft flush ruleset"), firewall(flush), firewall("iptables -D FORWARD -j STEPVPN-vpn0"), firewall("ip6tables -t nat -F STEPVPN-vpn0"),
		},
		"firewall, more": {
			firewall("iptables -I STEPVPN-vpn0 -i vpn0 -j DROP"), firewall("nft delete table ip nat; nft delete table ip6 raw"),
			firewall("printf '*filter\n:FORWARD DROP\nCOMMIT\n' | iptables-restore"),
		},
		"settings": {
			setting("net.ipv4.ip_forward"), setting("net.ipv6.conf.all.forwarding"), setting("net.ipv4.conf.vpn0.forwarding"), setting("net.ipv4.conf.eth0.forwarding"),
		},
		"a setting that nothing announces": {setting("net.netfilter.nf_conntrack_tcp_be_liberal")},
		"device": {
			device("ip link set vpn0 down", "it was down"), device("ip addr flush dev vpn0", "its address 10.8.0.1/24 was missing"),
			device("ip link set vpn0 mtu 1300", "its MTU was 1300"), device("ip link set vpn0 down; ip link set vpn0 up", "its address fd00:"),
		},
		"all at once": {{"nft flush ruleset; ip link set vpn0 down; ip addr flush dev vpn0; sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0", "it was down"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.add(t, "alice")
			before := state(t, w.Server)
			server := w.server(t)
			w.client(t)
			w.seenAs(t, w.Server.V4.String())
			connections := w.hold(t)
			want := w.forwarder(t)
			for _, way := range ways {
				said := strings.Count(server.Log(), way.says)
				server.Signal(syscall.SIGSTOP)
				w.Server.Run(t, "bash", "-c", way.do)
				require.NotEqual(t, want, w.forwarder(t), "%s: it is changed", way.do)
				for _, c := range connections {
					c.send(t)
				}
				server.Signal(syscall.SIGCONT)
				began := time.Now()
				netlab.Eventually(t, limit, way.do+": the host is as it was", func() bool { return w.forwarder(t) == want })
				t.Logf("%s: mended after %v", way.do, time.Since(began).Round(10*time.Millisecond))
				w.seenAs(t, w.Server.V4.String())
				require.Equal(t, w.Server.V6.String(), w.whoami(w.Web.V6), way.do)
				for _, c := range connections {
					c.receive(t)
				}
				netlab.Eventually(t, limit, "the log says it", func() bool { return strings.Count(server.Log(), way.says) > said })
				require.Equal(t, said+1, strings.Count(server.Log(), way.says), "%s: it says so once\n%s", way.do, server.Log())
			}
			require.NotContains(t, server.Log(), "keeps changing")
			server.Interrupt()
			require.Zero(t, server.Wait(t), server.Log())
			w.Server.Run(t, "iptables", "-P", "FORWARD", "ACCEPT")
			require.Equal(t, before, state(t, w.Server))
		})
	}
}

// A program that removes the rules again and again does not keep the server busy, and the
// server says which program has to stop.
func TestServerHostFoughtOver(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	server := w.server(t)
	w.client(t)
	w.seenAs(t, w.Server.V4.String())
	want := w.forwarder(t)
	there := func() bool { return w.forwarder(t) == want }
	// The same holds for the table that says what clients reach.
	const says = "another program keeps changing the firewall:"
	for rounds := 0; !strings.Contains(server.Log(), says); rounds++ {
		require.Less(t, rounds, 60, server.Log())
		w.Server.Run(t, "nft", "flush", "ruleset")
		netlab.Eventually(t, limit, "the rules are put back, or it says why not", func() bool {
			return there() || strings.Contains(server.Log(), says)
		})
	}
	require.GreaterOrEqual(t, strings.Count(server.Log(), "the firewall's rules of the tunnel"), 5, server.Log())
	require.Contains(t, server.Log(), "nft monitor")
	netlab.Eventually(t, limit, "they are put back in the end", there)
	w.seenAs(t, w.Server.V4.String())
	require.Equal(t, 1, strings.Count(server.Log(), says), server.Log())
}

// uplink gives the server a second interface to the internet, named eth1.
func (w *world) uplink(t *testing.T) (v4 string) {
	t.Helper()
	w.Internet.Run(t, "bash", "-c", `ip link add srv1 type veth peer name eth1 netns server
		ip addr add 203.0.113.17/28 dev srv1; ip addr add 2001:db8:17::1/64 dev srv1 nodad; ip link set srv1 up`)
	w.Server.Run(t, "bash", "-c", "ip addr add 203.0.113.20/28 dev eth1; ip addr add 2001:db8:17::20/64 dev eth1 nodad; ip link set eth1 up")
	w.Web.Run(t, "bash", "-c", "for i in $(seq 81 92); do ip addr add 203.0.113.$i/27 dev eth0; done")
	return "203.0.113.20"
}

// sites returns how many of the web's addresses alice reaches.
func (w *world) sites() (n int) {
	for i := range 12 {
		if _, err := w.Alice.Try("curl", "-sS", "--max-time", "5", fmt.Sprintf("http://203.0.113.%d/whoami", 81+i)); err == nil {
			n++
		}
	}
	return n
}

// Clients' packets leave by whichever interface leads to the internet.
func TestServerUplinks(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	own := w.Server.V4.String()
	ip := func(args string) { t.Helper(); w.Server.Run(t, "ip", strings.Fields(args)...) }
	require.Contains(t, w.Server.Run(t, "ip", "route"), "default via 203.0.113.1 ")

	// At the start, there is none.
	ip("-4 route del default")
	ip("-6 route del default")
	ip("-4 route add " + w.Alice.V4.String() + " via 203.0.113.1")
	server := w.server(t, "subnets", []string{"10.8.0.1/24", "fd00:8::1/64"}, "mtu", 1400)
	client := w.client(t)
	require.Empty(t, w.whoami(w.Web.V4))
	const none = "this host has no default route: clients have no way out"
	require.Equal(t, 1, strings.Count(server.Log(), none), server.Log())
	require.Contains(t, server.Log(), "Connect the host to a network")
	ip("-4 route add default via 203.0.113.1")
	w.seenAs(t, own)
	require.Empty(t, w.whoami(w.Web.V6))
	ip("-6 route add default via 2001:db8:5::1")
	netlab.Eventually(t, limit, "IPv6 is served", func() bool { return w.whoami(w.Web.V6) == w.Server.V6.String() })

	// Another interface takes over, on a host where new interfaces do not forward packets.
	w.Server.Write(t, "ipv4/conf/default/forwarding", "0")
	second := w.uplink(t)
	require.Equal(t, "0", w.Server.Read(t, "ipv4/conf/eth1/forwarding"))
	ip("-4 route replace default via 203.0.113.17")
	w.seenAs(t, second)
	ip("-6 route replace default via 2001:db8:17::1")
	netlab.Eventually(t, limit, "IPv6 leaves by the other one as well", func() bool { return w.whoami(w.Web.V6) == "2001:db8:17::20" })
	ip("-4 route replace default via 203.0.113.1")
	w.seenAs(t, own)

	// Both are used at the same time, with equal metrics, and then one as a reserve, which
	// must be ready at once.
	ip("-4 route replace default nexthop via 203.0.113.1 nexthop via 203.0.113.17")
	netlab.Eventually(t, limit, "all sites are reached", func() bool { return w.sites() == 12 })
	ip("-4 route replace default via 203.0.113.1")
	ip("-4 route add default via 203.0.113.17 metric 500")
	netlab.Eventually(t, limit, "both may be used", func() bool {
		rules := w.forwarder(t)
		return strings.Contains(rules, "-o eth0 -j MASQUERADE") && strings.Contains(rules, "-o eth1 -j MASQUERADE")
	})

	// One family disappears, and the other goes on.
	ip("-6 route del default")
	netlab.Eventually(t, limit, "IPv6 is not accepted any more", func() bool { return !strings.Contains(w.forwarder(t), "ip6tables nat -A STEPVPN") })
	w.seenAs(t, own)
	require.Equal(t, 1, strings.Count(server.Log(), none), server.Log())

	client.Interrupt()
	require.Zero(t, client.Wait(t))
	server.Interrupt()
	require.Zero(t, server.Wait(t), server.Log())
	require.Equal(t, "0", w.Server.Read(t, "ipv4/ip_forward"))
	require.Equal(t, "0", w.Server.Read(t, "ipv4/conf/eth1/forwarding"))

	// The settings may name the interfaces. An interface that does not exist yet is served
	// when it appears.
	ip("link set eth1 name wwan0")
	ip("link set wwan0 up")
	server = w.server(t, "egress", []string{"wwan0", "lte0"})
	require.Contains(t, server.Log(), "there is no interface lte0")
	w.client(t)
	require.Empty(t, w.whoami(w.Web.V4), "clients do not leave by others")
	ip("-4 route replace default via 203.0.113.17 dev wwan0")
	w.seenAs(t, second)
	ip("link set wwan0 down")
	ip("link set wwan0 name lte0")
	ip("link set lte0 up")
	ip("-4 route replace default via 203.0.113.17 dev lte0")
	w.seenAs(t, second)
}

// Somebody deletes the server's device: the server ends and says why, systemd restarts it, and
// nothing of the old device is left.
func TestServerDeviceDeleted(t *testing.T) {
	w := newWorld(t)
	before := state(t, w.Server)
	server := w.server(t)
	w.Server.Run(t, "ip", "link", "del", "vpn0")
	require.Equal(t, 1, server.Wait(t))
	require.Contains(t, server.Log(), "device vpn0 was deleted by somebody else")
	require.Equal(t, before, state(t, w.Server))
}
