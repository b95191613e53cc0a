package gateway

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step2-tun/tun"
	"stepvpn/step3-tunnel/tunnel"
)

// join connects alice to the server by a tunnel that is just two devices, called
// vpn0 at both ends, and makes it her default route.
func join(t *testing.T, lab *netlab.Lab, mtu int) {
	t.Helper()
	open := func(h *netlab.Host, mtu int, list string) (dev *tun.Device) {
		t.Helper()
		var err error
		h.Do(func() { dev, err = tun.Open(tun.Config{Name: "vpn0", Addrs: prefixes(list), MTU: mtu}) })
		require.NoError(t, err)
		return dev
	}
	server, alice := open(lab.Server, mtu, both), open(lab.Alice, tun.DefaultMTU, "10.8.0.2/24,fd00:8::2/64")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- tunnel.Run(ctx, server, alice, new(tunnel.Counters)) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
		server.Close()
		alice.Close()
	})
	lab.Alice.Run(t, "ip", "-4", "route", "replace", "default", "dev", "vpn0")
	lab.Alice.Run(t, "ip", "-6", "route", "replace", "default", "dev", "vpn0", "metric", "1")
	reaches(t, lab.Alice, "10.8.0.1")
	reaches(t, lab.Alice, "fd00:8::1")
}

// forwardByHand turns forwarding on, with nothing to protect anybody. It is to
// show that a test would see what Enable prevents.
func forwardByHand(t *testing.T, lab *netlab.Lab) (undo func()) {
	set := func(value string) {
		lab.Server.Write(t, "ipv4/ip_forward", value)
		lab.Server.Write(t, "ipv6/conf/all/forwarding", value)
	}
	set("1")
	return func() { set("0") }
}

// reaches waits until a ping is answered.
func reaches(t *testing.T, h *netlab.Host, addr string, options ...string) {
	t.Helper()
	netlab.Eventually(t, limit, h.Name+" reaches "+addr, func() bool {
		_, err := h.Try("ping", append([]string{"-c", "1", "-W", "1", addr}, options...)...)
		return err == nil
	})
}

// ping sends one, answered or not. Wait for something that must come after it
// before you say that it did not arrive.
func ping(h *netlab.Host, addr string, options ...string) {
	h.Try("ping", append([]string{"-c", "1", "-W", "0.1", addr}, options...)...)
}

// A web site logs the server's address instead of alice's, also where Docker
// drops what it does not know.
func TestClientsLeaveUnderTheServersAddress(t *testing.T) {
	for _, kind := range []string{"nft", "legacy"} {
		t.Run(kind, func(t *testing.T) {
			use(t, kind)
			lab := netlab.New(t)
			site := lab.Web.ServeSite(t)
			visit := func() (v4, v6 string) {
				t.Helper()
				v4 = lab.Alice.Run(t, "curl", "-sS", "--max-time", "20", "http://203.0.113.80/whoami")
				v6 = lab.Alice.Run(t, "curl", "-sS", "--max-time", "20", "http://[2001:db8:80::80]/whoami")
				require.True(t, site.Visited(strings.TrimSpace(v6)), "the site's log says the same")
				return strings.TrimSpace(v4), strings.TrimSpace(v6)
			}
			v4, v6 := visit()
			require.Equal(t, lab.Alice.V4.String(), v4)
			require.Equal(t, lab.Alice.V6.String(), v6)

			dockerHost(t, lab)
			join(t, lab, 1420)
			defer enable(t, lab, Config{Device: "vpn0", Addrs: prefixes(both)})()
			v4, v6 = visit()
			require.Equal(t, lab.Server.V4.String(), v4)
			require.Equal(t, lab.Server.V6.String(), v6)
			reaches(t, lab.Alice, "203.0.113.80")
			reaches(t, lab.Alice, "2001:db8:80::80")
		})
	}
}

// Nobody outside can open a connection to a client.
func TestNobodyConnectsToAClient(t *testing.T) {
	lab := netlab.New(t)
	join(t, lab, 1420)
	for _, r := range []string{"10.8.0.0/24 via 203.0.113.10", "fd00:8::/64 via 2001:db8:5::10"} {
		lab.Internet.Run(t, "ip", append([]string{"route", "add"}, strings.Fields(r)...)...)
	}
	undo := forwardByHand(t, lab)
	reaches(t, lab.Web, "10.8.0.2")
	reaches(t, lab.Web, "fd00:8::2")
	undo()

	defer enable(t, lab, Config{Device: "vpn0", Addrs: prefixes(both)})()
	arrivals := lab.Server.Capture(t, "eth0", "host 10.8.0.2 or host fd00:8::2")
	passed := lab.Alice.Capture(t, "vpn0", "dst host 10.8.0.2 and icmp[0] == 8 or dst host fd00:8::2 and icmp6 and ip6[40] == 128") // echo requests
	ping(lab.Web, "10.8.0.2")
	ping(lab.Web, "fd00:8::2")
	reaches(t, lab.Alice, "10.8.0.1")
	require.Len(t, arrivals.Stop(), 2)
	require.Empty(t, passed.Stop(), "requests that came out of the tunnel")
}

// A client's packet under an address that is not of the tunnel is dropped, on its way to
// the internet and to the server itself.
func TestForgedSourcesAreDropped(t *testing.T) {
	lab := netlab.New(t)
	join(t, lab, 1420)
	lab.Alice.Run(t, "ip", "addr", "add", "10.9.9.9/32", "dev", "vpn0")
	lab.Alice.Run(t, "ip", "addr", "add", "fd99::9/128", "dev", "vpn0")
	forge := func() []string {
		t.Helper()
		wire := lab.Server.Capture(t, "eth0", "host 10.9.9.9 or host fd99::9")
		for _, to := range []string{"203.0.113.80", "203.0.113.10"} {
			ping(lab.Alice, to, "-I", "10.9.9.9")
		}
		for _, to := range []string{"2001:db8:80::80", "2001:db8:5::10"} {
			ping(lab.Alice, to, "-I", "fd99::9")
		}
		reaches(t, lab.Alice, "10.8.0.1", "-I", "10.8.0.2")
		return wire.Stop()
	}
	undo := forwardByHand(t, lab)
	require.Len(t, forge(), 4, "a request each to web, a reply each of the server")
	undo()
	defer enable(t, lab, Config{Device: "vpn0", Addrs: prefixes(both)})()
	require.Empty(t, forge())
	reaches(t, lab.Alice, "203.0.113.80", "-I", "10.8.0.2")
}

// Clients can't reach another network of the server.
func TestClientsLeaveOnlyByTheEgressInterface(t *testing.T) {
	lab := netlab.New(t)
	join(t, lab, 1420)
	lab.Server.Run(t, "ip", "link", "add", "eth1", "type", "veth", "peer", "name", "inside", "netns", "bob")
	for _, c := range []struct {
		host *netlab.Host
		args string
	}{
		{lab.Server, "addr add 172.18.0.1/24 dev eth1"}, {lab.Server, "link set eth1 up"},
		{lab.Bob, "addr add 172.18.0.2/24 dev inside"}, {lab.Bob, "link set inside up"},
		{lab.Bob, "route add 10.8.0.0/24 via 172.18.0.1"},
	} {
		c.host.Run(t, "ip", strings.Fields(c.args)...)
	}
	undo := forwardByHand(t, lab)
	reaches(t, lab.Alice, "172.18.0.2")
	undo()
	defer enable(t, lab, Config{Device: "vpn0", Addrs: prefixes(both)})()
	arrivals := lab.Bob.Capture(t, "inside", "icmp")
	ping(lab.Alice, "172.18.0.2")
	reaches(t, lab.Alice, "203.0.113.80")
	require.Empty(t, arrivals.Stop())
}

// Both ends of a TCP connection are told the size that fits through the tunnel.
func TestMSSIsClampedBothWays(t *testing.T) {
	lab := netlab.New(t)
	lab.Web.ServeSite(t)
	join(t, lab, 1380) // at the server's end; alice's own is 1500
	sizes := func() (seen []string) {
		t.Helper()
		const syn4, syn6 = "tcp[13] & 2 != 0", "ip6[40+13] & 2 != 0"
		web := lab.Web.Capture(t, "eth0", "(dst port 80) and ("+syn4+" or (ip6 and tcp and "+syn6+"))")
		alice := lab.Alice.Capture(t, "vpn0", "(src port 80) and ("+syn4+" or (ip6 and tcp and "+syn6+"))")
		lab.Alice.Run(t, "curl", "-sS", "--max-time", "20", "http://203.0.113.80/whoami")
		lab.Alice.Run(t, "curl", "-sS", "--max-time", "20", "http://[2001:db8:80::80]/whoami")
		for _, line := range append(web.Stop(), alice.Stop()...) {
			_, rest, _ := strings.Cut(line, "mss ")
			size, _, _ := strings.Cut(rest, ",")
			seen = append(seen, size)
		}
		return seen
	}
	undo := forwardByHand(t, lab)
	lab.Server.Run(t, "iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-j", "MASQUERADE")
	lab.Server.Run(t, "ip6tables", "-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-j", "MASQUERADE")
	require.Equal(t, []string{"1460", "1440", "1460", "1440"}, sizes(), "unclamped, it is what Ethernet has room for")
	undo()
	defer enable(t, lab, Config{Device: "vpn0", Addrs: prefixes(both)})()
	require.Equal(t, []string{"1340", "1320", "1340", "1320"}, sizes(), "1380, less 40 bytes of headers for IPv4, 60 for IPv6")
}
