package route

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"stepvpn/shared/link"
	"stepvpn/shared/netlab"
)

// The kernel's own answers, before and after.
func TestWhereEverythingGoes(t *testing.T) {
	lab := netlab.New(t)
	const refusal = "Network is unreachable"
	questions := []struct {
		question     string // as for "ip route get"
		before       string
		both, v4, v6 string // by what the tunnel carries
	}{
		// the internet
		{"203.0.113.80", "eth0", "vpn0", "vpn0", refusal},
		{"2001:db8:80::80", "eth0", "vpn0", refusal, "vpn0"},
		{"203.0.113.80 from 198.51.100.10", "eth0", "vpn0", "vpn0", refusal},
		{"2001:db8:80::80 from 2001:db8:cafe::10", "eth0", "vpn0", refusal, "vpn0"},
		// the server, for the tunnel's own socket and for others
		{"203.0.113.10 mark 22505", "eth0", "eth0", "eth0", "eth0"},
		{"2001:db8:5::10 mark 22505", "eth0", "eth0", "eth0", "eth0"},
		{"203.0.113.10", "eth0", "vpn0", "vpn0", refusal},
		{"203.0.113.10 ipproto udp dport 5555", "eth0", "vpn0", "vpn0", "eth0"}, // for the answers
		// the local network: a neighbour, the router, broadcast, multicast
		{"198.51.100.11", "eth0", "eth0", "eth0", "eth0"},
		{"2001:db8:cafe::11", "eth0", "eth0", "eth0", "eth0"},
		{"198.51.100.1", "eth0", "eth0", "eth0", "eth0"},
		{"198.51.100.255", "eth0", "eth0", "eth0", "eth0"},
		{"fe80::1 oif eth0", "eth0", "eth0", "eth0", "eth0"},
		{"ff02::1 oif eth0", "eth0", "eth0", "eth0", "eth0"},
		// what a DHCP client or mDNS sends, which name the interface
		{"255.255.255.255 oif eth0", "eth0", "eth0", "eth0", "eth0"},
		{"224.0.0.251 oif eth0", "eth0", "eth0", "eth0", "eth0"},
		// the host itself
		{"127.0.0.1", "lo", "lo", "lo", "lo"},
		{"198.51.100.10", "lo", "lo", "lo", "lo"},
		{"::1", "lo", "lo", "lo", "lo"},
	}
	ask := func(want func(i int) string) {
		t.Helper()
		for i, q := range questions {
			require.Equal(t, want(i), way(lab.Alice, q.question), "ip route get %s", q.question)
		}
	}
	ask(func(i int) string { return questions[i].before })

	for _, c := range []struct {
		addrs string
		want  func(i int) string
	}{
		{both, func(i int) string { return questions[i].both }},
		{onlyIPv4, func(i int) string { return questions[i].v4 }},
		{onlyIPv6, func(i int) string { return questions[i].v6 }},
	} {
		t.Run(c.addrs, func(t *testing.T) {
			dev := tunnelOn(t, lab.Alice, c.addrs)
			before, goroutines := snapshot(t, lab.Alice), goleak.IgnoreCurrent()
			undo := defaultOn(t, lab.Alice, config(c.addrs))
			require.NotEqual(t, len(before), len(snapshot(t, lab.Alice)))
			ask(c.want)
			undo()
			undo() // once more has no effect
			same(t, before, lab.Alice)
			goleak.VerifyNone(t, goroutines)
			require.NoError(t, dev.Close())
		})
	}
	ask(func(i int) string { return questions[i].before })
}

// The addresses that programs send from are those of the tunnel.
func TestSourceAddressIsTheTunnels(t *testing.T) {
	lab := netlab.New(t)
	tunnelOn(t, lab.Alice, both)
	source := func(to string) string {
		_, rest, _ := strings.Cut(lab.Alice.Run(t, "ip", "route", "get", to), " src ")
		return strings.Fields(rest)[0]
	}
	require.Equal(t, "198.51.100.10", source("203.0.113.80"))
	require.Equal(t, "2001:db8:cafe::10", source("2001:db8:80::80"))
	defer defaultOn(t, lab.Alice, config(both))()
	require.Equal(t, "10.8.0.2", source("203.0.113.80"))
	require.Equal(t, "fd00:8::2", source("2001:db8:80::80"))
	require.Equal(t, "198.51.100.10", source("198.51.100.11"))
	require.Equal(t, "2001:db8:cafe::10", source("2001:db8:cafe::11"))
}

// One datagram with the mark and one without, to the same place.
func TestOnlyTheMarkedSocketStaysOutside(t *testing.T) {
	lab := netlab.New(t)
	dev := tunnelOn(t, lab.Alice, both)
	echo(t, lab.Server, "udp")
	defer defaultOn(t, lab.Alice, config(both))()

	require.NoError(t, ask(lab.Alice, "udp", Mark), "the echo of the server outside the tunnel")

	conn, err := dial(lab.Alice, "udp", nil, limit)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("unmarked"))
	require.NoError(t, err)
	require.Contains(t, string(nextFrom(t, dev, "10.8.0.2", "203.0.113.10")), "unmarked")
}

// nextFrom reads from the device until there is an IPv4 packet from src to dst.
func nextFrom(t *testing.T, dev link.Link, src, dst string) []byte {
	t.Helper()
	timer := time.AfterFunc(limit, func() { dev.Close() })
	defer timer.Stop()
	b := link.NewBurst()
	for {
		require.NoError(t, dev.ReadBurst(b), "no packet from %s to %s came", src, dst)
		p := b.At(0)
		if p[0]>>4 == 4 && netip.AddrFrom4([4]byte(p[12:])).String() == src && netip.AddrFrom4([4]byte(p[16:])).String() == dst {
			return p
		}
	}
}

// A host with a strict rp_filter drops the server's answers, unless the rule of
// priority 22503 is there.
func TestStrictReversePathFilter(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		for _, setting := range []string{"all", "eth0"} {
			t.Run(network+" "+setting, func(t *testing.T) {
				lab := netlab.New(t)
				for _, s := range []string{"all", "default", "eth0"} {
					lab.Alice.Write(t, "ipv4/conf/"+s+"/rp_filter", "0")
				}
				lab.Alice.Write(t, "ipv4/conf/"+setting+"/rp_filter", "1")
				tunnelOn(t, lab.Alice, both)
				echo(t, lab.Server, network)
				before := snapshot(t, lab.Alice)
				c := config(both)
				c.Network = network
				undo := defaultOn(t, lab.Alice, c)
				require.Equal(t, "eth0", way(lab.Alice, "203.0.113.10 ipproto "+network+" dport 5555"))
				for _, other := range []string{"203.0.113.10 ipproto " + network + " dport 5556", "203.0.113.10 ipproto icmp", "203.0.113.80"} {
					require.Equal(t, "vpn0", way(lab.Alice, other))
				}
				another := map[string]string{"udp": "tcp", "tcp": "udp"}[network]
				require.Equal(t, "vpn0", way(lab.Alice, "203.0.113.10 ipproto "+another+" dport 5555"))

				require.NoError(t, ask(lab.Alice, network, Mark))

				lab.Alice.Run(t, "ip", "rule", "del", "priority", "22503")
				dropped := reversePathDrops(t, lab.Alice)
				require.Error(t, try(lab.Alice, network, Mark, 500*time.Millisecond), "without the rule there is no answer")
				netlab.Eventually(t, limit, "the kernel drops answers by the reverse path", func() bool {
					return dropped != reversePathDrops(t, lab.Alice)
				})

				undo() // which does not mind that the rule is gone
				same(t, before, lab.Alice)
			})
		}
	}
}

func reversePathDrops(t *testing.T, h *netlab.Host) string {
	return h.Run(t, "nstat", "-asz", "TcpExtIPReversePathFilter")
}

// Programs learn at once that a family has no way out.
func TestAFamilyThatTheTunnelLacksIsRefusedAtOnce(t *testing.T) {
	for _, c := range []struct{ name, addrs, network, web, neighbour string }{
		{"IPv6", onlyIPv4, "tcp6", "[2001:db8:80::80]:80", "2001:db8:cafe::11"},
		{"IPv4", onlyIPv6, "tcp4", "203.0.113.80:80", "198.51.100.11"},
	} {
		t.Run(c.name, func(t *testing.T) {
			lab := netlab.New(t)
			lab.Web.ServeSite(t)
			tunnelOn(t, lab.Alice, c.addrs)
			visit := func() (err error) {
				lab.Alice.Do(func() {
					var conn net.Conn
					if conn, err = net.Dial(c.network, c.web); err == nil {
						conn.Close()
					}
				})
				return err
			}
			wire := func() []string {
				capture := lab.Cafe.Capture(t, "br0", "host "+netip.MustParseAddrPort(c.web).Addr().String())
				visit()
				return capture.Stop()
			}
			require.NoError(t, visit())
			require.NotEmpty(t, wire(), "the capture sees what leaves in the clear")
			defer defaultOn(t, lab.Alice, config(c.addrs))()
			require.ErrorIs(t, visit(), syscall.ENETUNREACH)
			require.Empty(t, wire())
			routes := lab.Alice.Run(t, "ip", "-"+c.network[3:], "route", "show", "table", "all")
			require.NotContains(t, routes, fmt.Sprint("table ", Table), "a route into a tunnel that doesn't carry it")
			lab.Alice.Run(t, "ping", "-c", "1", c.neighbour)
		})
	}
}

// A laptop moves to another network while the tunnel is up.
func TestTheHostsOwnDefaultRouteMayChange(t *testing.T) {
	lab := netlab.New(t)
	tunnelOn(t, lab.Alice, both)
	undo := defaultOn(t, lab.Alice, config(both))
	lab.Alice.Run(t, "ip", "route", "replace", "default", "via", "198.51.100.11")
	require.Contains(t, lab.Alice.Run(t, "ip", "route", "get", "203.0.113.10", "mark", "22505"), "via 198.51.100.11 dev eth0")
	require.Equal(t, "vpn0", way(lab.Alice, "203.0.113.80"))
	undo()
	require.Contains(t, lab.Alice.Run(t, "ip", "route", "get", "203.0.113.80"), "via 198.51.100.11 dev eth0")
}

// The client's program closes the device at its end, before or after the undo.
func TestUndoAfterTheDeviceIsGone(t *testing.T) {
	lab := netlab.New(t)
	before := snapshot(t, lab.Alice)
	dev := tunnelOn(t, lab.Alice, both)
	undo := defaultOn(t, lab.Alice, config(both))
	require.NoError(t, dev.Close())
	require.Equal(t, "eth0", way(lab.Alice, "203.0.113.80"), "the route goes with the device")
	undo()
	same(t, before, lab.Alice)
}

// A server on the local network needs no default route, nor one of its own.
func TestServerOnTheLocalNetwork(t *testing.T) {
	lab := netlab.New(t)
	lab.Alice.Run(t, "ip", "route", "del", "default")
	tunnelOn(t, lab.Alice, both)
	c := config(both)
	c.Server = netip.AddrPortFrom(lab.Bob.V4, 5555)
	defer defaultOn(t, lab.Alice, c)()
	require.Equal(t, "eth0", way(lab.Alice, "198.51.100.11 mark 22505"))
	require.Equal(t, "vpn0", way(lab.Alice, "203.0.113.80"))
}

// echo serves one thing on port 5555 of the host: what comes goes back.
func echo(t *testing.T, h *netlab.Host, network string) {
	t.Helper()
	var err error
	if network == "udp" {
		var conn net.PacketConn
		h.Do(func() { conn, err = net.ListenPacket("udp4", ":5555") })
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		go func() {
			buf := make([]byte, 1500)
			for {
				n, from, err := conn.ReadFrom(buf)
				if err != nil {
					return
				}
				conn.WriteTo(buf[:n], from)
			}
		}()
		return
	}
	var l net.Listener
	h.Do(func() { l, err = net.Listen("tcp4", ":5555") })
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 1500)
			n, _ := conn.Read(buf)
			conn.Write(buf[:n])
			conn.Close()
		}
	}()
}

// control is what Mark is.
type control = func(network, address string, c syscall.RawConn) error

// dial connects the host to port 5555 of the server.
func dial(h *netlab.Host, network string, mark control, patience time.Duration) (conn net.Conn, err error) {
	d := net.Dialer{Control: mark, Timeout: patience}
	h.Do(func() { conn, err = d.Dial(network+"4", serverAddr.String()) })
	return conn, err
}

// try sends a word to the echo and waits for the answer.
func try(h *netlab.Host, network string, mark control, patience time.Duration) error {
	conn, err := dial(h, network, mark, patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte("hello")); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1500))
	return err
}

// ask tries until there is an answer, or long enough.
func ask(h *netlab.Host, network string, mark control) (err error) {
	for range 5 {
		if err = try(h, network, mark, limit/5); err == nil {
			return nil
		}
	}
	return err
}
