package guard

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step2-tun/tun"
	"stepvpn/step5-nat/route"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	netlab.Main(m)
}

var (
	addrs      = []netip.Prefix{netip.MustParsePrefix("10.8.0.2/24"), netip.MustParsePrefix("fd00:8::2/64")}
	resolvers  = []netip.Addr{netip.MustParseAddr("10.8.0.1"), netip.MustParseAddr("fd00:8::1")}
	serverAddr = netip.MustParseAddrPort("203.0.113.10:53") // a VPN on port 53, the hardest case
)

// tunnelOn makes a device the way out of the host, and returns what takes both away.
func tunnelOn(t *testing.T, h *netlab.Host, addrs []netip.Prefix) (down func()) {
	t.Helper()
	h.Do(func() {
		dev, err := tun.Open(tun.Config{Name: "vpn0", Addrs: addrs})
		require.NoError(t, err)
		t.Cleanup(func() { dev.Close() }) // and no garbage collector does before
		undo, err := route.Default(route.Config{Device: "vpn0", Addrs: addrs, Network: "udp", Server: serverAddr})
		require.NoError(t, err)
		down = func() {
			h.Do(func() { require.NoError(t, undo()) })
			require.NoError(t, dev.Close())
		}
	})
	return down
}

func block(t *testing.T, h *netlab.Host, resolvers ...netip.Addr) (undo func()) {
	t.Helper()
	var back func() error
	h.Do(func() {
		var err error
		back, err = DNS("vpn0", resolvers)
		require.NoError(t, err)
	})
	return func() { h.Do(func() { require.NoError(t, back()) }) }
}

// way is the interface by which a packet would leave, or why it would not.
func way(h *netlab.Host, question string) string {
	out, err := h.Try("ip", append([]string{"route", "get"}, strings.Fields(question)...)...)
	if err != nil {
		return strings.TrimPrefix(strings.TrimSpace(out), "RTNETLINK answers: ")
	}
	_, rest, _ := strings.Cut(out, " dev ")
	name, _, _ := strings.Cut(rest, " ")
	return name
}

func rules(t *testing.T, h *netlab.Host) string {
	t.Helper()
	return h.Run(t, "bash", "-c", "ip -4 rule; ip -6 rule; nft list ruleset")
}

func TestWhereQueriesGo(t *testing.T) {
	lab := netlab.New(t)
	const refusal = "Permission denied"
	questions := []struct{ question, before, while string }{
		// the cafe's resolver, on the local network
		{"198.51.100.1 ipproto udp dport 53", "eth0", refusal},
		{"198.51.100.1 ipproto tcp dport 53", "eth0", refusal},
		{"2001:db8:cafe::1 ipproto udp dport 53", "eth0", refusal},
		{"2001:db8:cafe::1 ipproto tcp dport 53", "eth0", refusal},
		// one on the internet
		{"203.0.113.80 ipproto udp dport 53", "vpn0", refusal},
		{"2001:db8:80::80 ipproto tcp dport 53", "vpn0", refusal},
		// the tunnel's
		{"10.8.0.1 ipproto udp dport 53", "vpn0", "vpn0"},
		{"10.8.0.1 ipproto tcp dport 53", "vpn0", "vpn0"},
		{"fd00:8::1 ipproto udp dport 53", "vpn0", "vpn0"},
		// the tunnel's own packets to the server, which listens on port 53
		{"203.0.113.10 ipproto udp dport 53 mark 22505", "eth0", "eth0"},
		// the host itself
		{"127.0.0.53 ipproto udp dport 53", "lo", "lo"},
		{"::1 ipproto udp dport 53", "lo", "lo"},
		// anything else
		{"198.51.100.1 ipproto udp dport 54", "eth0", "eth0"},
		{"198.51.100.1 ipproto udp sport 53 dport 5353", "eth0", "eth0"},
		{"198.51.100.11", "eth0", "eth0"},
		{"203.0.113.80 ipproto tcp dport 443", "vpn0", "vpn0"},
	}
	down := tunnelOn(t, lab.Alice, addrs)
	before := rules(t, lab.Alice)
	for _, q := range questions {
		require.Equal(t, q.before, way(lab.Alice, q.question), q.question)
	}
	undo := block(t, lab.Alice, resolvers...)
	for _, q := range questions {
		require.Equal(t, q.while, way(lab.Alice, q.question), q.question)
	}
	undo()
	undo() // once more has no effect
	require.Equal(t, before, rules(t, lab.Alice))
	down()
}

// A family that the tunnel does not carry has resolvers on the local network all
// the same.
func TestTunnelOfOneFamily(t *testing.T) {
	lab := netlab.New(t)
	tunnelOn(t, lab.Alice, addrs[:1])
	require.Equal(t, "eth0", way(lab.Alice, "2001:db8:cafe::1 ipproto udp dport 53"))
	block(t, lab.Alice, resolvers[0])
	require.Equal(t, "Permission denied", way(lab.Alice, "2001:db8:cafe::1 ipproto udp dport 53"))
	require.Equal(t, "vpn0", way(lab.Alice, "10.8.0.1 ipproto udp dport 53"))
}

// Programs ask, and a capture tells what left. The socket that was connected
// before the rules came is bound by them, too.
func TestNothingLeaves(t *testing.T) {
	lab := netlab.New(t)
	tunnelOn(t, lab.Alice, addrs)
	targets := []netip.Addr{lab.Cafe.V4, lab.Cafe.V6}

	var old []net.Conn
	lab.Alice.Do(func() {
		for _, a := range targets {
			c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, port)))
			require.NoError(t, err)
			t.Cleanup(func() { c.Close() })
			old = append(old, c)
		}
	})
	ask := func() (errs []error) {
		for _, a := range targets {
			for _, how := range []string{"+notcp", "+tcp"} {
				lab.Alice.Try("dig", "+tries=1", "+time=1", how, "@"+a.String(), "secret.example")
			}
		}
		for _, c := range old {
			_, err := c.Write([]byte("not a query, but to port 53"))
			errs = append(errs, err)
		}
		return errs
	}
	seen := func(act func()) []string {
		c := lab.Cafe.Capture(t, "br0", fmt.Sprintf("dst port %d", port))
		act()
		return c.Stop()
	}

	// The detector first: UDP, TCP, and the old sockets, IPv4 and IPv6.
	lines := strings.Join(seen(func() { require.Equal(t, []error{nil, nil}, ask()) }), "\n")
	for _, want := range []string{
		"> 198.51.100.1.53: Flags [S]", "> 2001:db8:cafe::1.53: Flags [S]", "secret.example",
	} {
		require.Contains(t, lines, want)
	}

	block(t, lab.Alice, resolvers...)
	require.Empty(t, seen(func() {
		for _, err := range ask() {
			require.ErrorContains(t, err, "permission denied")
		}
	}))
}

// After kill -9 the device and its route are gone, and the rules are left. They
// still refuse. Recover, and the next start, remove them.
func TestAfterKill(t *testing.T) {
	lab := netlab.New(t)
	before := rules(t, lab.Alice)
	killed := func() {
		down := tunnelOn(t, lab.Alice, addrs)
		block(t, lab.Alice, resolvers...)
		down() // the device and the rules of package route are gone, guard's are left
		require.NotEqual(t, before, rules(t, lab.Alice))
		require.Equal(t, "Permission denied", way(lab.Alice, "198.51.100.1 ipproto udp dport 53"))
	}

	killed()
	lab.Alice.Do(func() { require.NoError(t, Recover()) })
	require.Equal(t, before, rules(t, lab.Alice))
	lab.Alice.Do(func() { require.NoError(t, Recover()) }) // nothing to do is no error

	killed()
	down := tunnelOn(t, lab.Alice, addrs)
	block(t, lab.Alice, resolvers...)() // takes the place of what is left
	down()
	require.Equal(t, before, rules(t, lab.Alice))
}

// While a client runs, Recover must not touch its rules.
func TestRecoverWhileAClientRuns(t *testing.T) {
	lab := netlab.New(t)
	tunnelOn(t, lab.Alice, addrs)
	block(t, lab.Alice, resolvers...)
	before := rules(t, lab.Alice)
	lab.Alice.Do(func() {
		require.EqualError(t, Recover(), "another client runs on this host: it sends everything into vpn0")
	})
	require.Equal(t, before, rules(t, lab.Alice))
}

// If a rule is refused, those before it are undone.
func TestHalfWay(t *testing.T) {
	lab := netlab.New(t)
	lab.Alice.Run(t, "ip", "-6", "rule", "add", "priority", "22502", "ipproto", "tcp", "dport", "53", "prohibit", "protocol", "87")
	before := rules(t, lab.Alice)
	lab.Alice.Do(func() {
		_, err := DNS("vpn0", resolvers)
		require.EqualError(t, err, "ip -6 rule add priority 22502 ipproto tcp dport 53 prohibit: it exists already")
	})
	require.Equal(t, before, rules(t, lab.Alice))
}

// The server may name one resolver twice.
func TestTheSameResolverTwice(t *testing.T) {
	lab := netlab.New(t)
	before := rules(t, lab.Alice)
	block(t, lab.Alice, resolvers[0], resolvers[1], resolvers[0])()
	require.Equal(t, before, rules(t, lab.Alice))
}

func TestNoResolver(t *testing.T) {
	_, err := DNS("vpn0", nil)
	require.EqualError(t, err, "the server names no resolver to ask inside the tunnel")
}

func TestWithoutNft(t *testing.T) {
	lab := netlab.New(t)
	before := rules(t, lab.Alice)
	path := os.Getenv("PATH")
	t.Setenv("PATH", "")
	lab.Alice.Do(func() {
		_, err := DNS("vpn0", resolvers)
		require.EqualError(t, err, "nft add table inet stepvpn_guard: the program nft is not installed")
		require.NoError(t, Recover(), "a host without nft has nothing to recover")
	})
	t.Setenv("PATH", path)
	require.Equal(t, before, rules(t, lab.Alice))
}

// The table as it is, to see whether somebody has changed it.
func TestListTheTable(t *testing.T) {
	lab := netlab.New(t)
	list := func() (text string, err error) {
		lab.Alice.Do(func() { text, err = Table.List() })
		return text, err
	}
	_, err := list()
	require.ErrorContains(t, err, "No such file or directory")
	undo := block(t, lab.Alice, resolvers...)
	first, err := list()
	require.NoError(t, err)
	require.Contains(t, first, "th dport 53 jump queries")
	lab.Alice.Run(t, "nft", "add rule inet stepvpn_guard output counter accept")
	changed, err := list()
	require.NoError(t, err)
	require.NotEqual(t, first, changed)
	lab.Alice.Try("ping", "-c", "1", lab.Cafe.V4.String())
	again, err := list()
	require.NoError(t, err)
	require.Equal(t, changed, again, "the values of counters do not matter")
	lab.Alice.Do(func() { require.NoError(t, firewall("vpn0", resolvers).Do()) })
	again, err = list()
	require.NoError(t, err)
	require.Equal(t, first, again)
	undo()
}
