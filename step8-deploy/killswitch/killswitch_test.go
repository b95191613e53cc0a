package killswitch

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step2-tun/tun"
	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/guard"
)

func TestMain(m *testing.M) { netlab.Main(m) }

const limit = 20 * time.Second

var (
	addrs      = []netip.Prefix{netip.MustParsePrefix("10.8.0.2/24"), netip.MustParsePrefix("fd00:8::2/64")}
	resolvers  = []netip.Addr{netip.MustParseAddr("10.8.0.1"), netip.MustParseAddr("fd00:8::1")}
	serverAddr = netip.MustParseAddrPort("203.0.113.10:5555")
)

func on(t *testing.T, h *netlab.Host) (off func()) {
	t.Helper()
	var s *Switch
	h.Do(func() {
		var err error
		s, err = On(nil, true)
		require.NoError(t, err)
		require.NoError(t, s.Server("udp", serverAddr))
	})
	return func() { h.Do(func() { require.NoError(t, s.Off()) }) }
}

func listed(t *testing.T, h *netlab.Host) string {
	t.Helper()
	return h.Run(t, "bash", "-c", "ip -4 rule; ip -6 rule")
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

var questions = []struct{ question, off, on, up string }{
	{"203.0.113.80", "eth0", "Network is unreachable", "vpn0"},
	{"2001:db8:80::80", "eth0", "Network is unreachable", "vpn0"},
	{"203.0.113.10", "eth0", "Network is unreachable", "vpn0"},
	{"203.0.113.10 mark 22505", "eth0", "eth0", "eth0"},
	{"2001:db8:5::10 mark 22505", "eth0", "eth0", "eth0"},
	{"203.0.113.80 ipproto udp dport 53 mark 22505", "eth0", "eth0", "eth0"},
	{"198.51.100.11", "eth0", "eth0", "eth0"},
	{"2001:db8:cafe::11", "eth0", "eth0", "eth0"},
	{"198.51.100.1 ipproto udp dport 53", "eth0", "Permission denied", "Permission denied"},
	{"2001:db8:cafe::1 ipproto tcp dport 53", "eth0", "Permission denied", "Permission denied"},
	{"203.0.113.80 ipproto udp dport 53", "eth0", "Permission denied", "Permission denied"},
	{"127.0.0.53 ipproto udp dport 53", "lo", "lo", "lo"},
	{"::1", "lo", "lo", "lo"},
}

// The kernel's own answers: without, while there is no tunnel, while there is one,
// and when that is gone again.
func TestWhereEverythingGoes(t *testing.T) {
	lab := netlab.New(t)
	before := listed(t, lab.Alice)
	ask := func(when string, want func(i int) string) {
		t.Helper()
		for i, q := range questions {
			require.Equal(t, want(i), way(lab.Alice, q.question), "%s: %s", when, q.question)
		}
	}
	ask("before", func(i int) string { return questions[i].off })
	off := on(t, lab.Alice)
	ask("on", func(i int) string { return questions[i].on })

	lab.Alice.Do(func() {
		require.NoError(t, route.Recover()) // as a client does at its start
		dev, err := tun.Open(tun.Config{Name: "vpn0", Addrs: addrs})
		require.NoError(t, err)
		undoRoute, err := route.Default(route.Config{Device: "vpn0", Addrs: addrs, Network: "udp", Server: serverAddr})
		require.NoError(t, err)
		undoGuard, err := guard.DNS("vpn0", resolvers)
		require.NoError(t, err)
		ask("up", func(i int) string { return questions[i].up })
		require.NoError(t, dev.Close()) // as at kill -9: the rest stays
		ask("killed", func(i int) string { return questions[i].on })
		require.NoError(t, undoGuard())
		require.NoError(t, undoRoute())
	})
	ask("down", func(i int) string { return questions[i].on })

	off()
	off() // once more has no effect
	require.Equal(t, before, listed(t, lab.Alice))
}

// What eve sees of a host that uses the internet: first without, to see that she
// sees.
func TestNothingLeaves(t *testing.T) {
	lab := netlab.New(t)
	filter := fmt.Sprintf("(src %v or src %v) and not (dst net 198.51.100.0/24 or dst net 2001:db8:cafe::/64 or dst net fe80::/10 or dst net ff02::/16)",
		lab.Alice.V4, lab.Alice.V6)
	use := func() {
		lab.Alice.Try("ping", "-c", "1", "-W", "1", lab.Web.V4.String())
		lab.Alice.Try("ping", "-c", "1", "-W", "1", lab.Web.V6.String())
		lab.Alice.Try("curl", "-sS", "--max-time", "2", "http://"+lab.Web.V4.String()+"/")
		lab.Alice.Try("dig", "+tries=1", "+time=1", "@"+lab.Web.V4.String(), "secret.example")
		lab.Alice.Try("ping", "-c", "1", "-W", "1", "-I", lab.Alice.V4.String(), lab.Web.V4.String())
	}
	capture := lab.Cafe.Capture(t, "br0", filter)
	use()
	require.Greater(t, len(capture.Stop()), 4)

	on(t, lab.Alice)
	capture = lab.Cafe.Capture(t, "br0", filter)
	use()
	require.Empty(t, capture.Stop())
	lab.Alice.Run(t, "ping", "-c", "1", "-W", "5", lab.Bob.V4.String()) // the local network is there
}

// After kill -9 the rules stay. The next client takes them over, and Off removes
// them.
func TestAfterKill(t *testing.T) {
	lab := netlab.New(t)
	before := listed(t, lab.Alice)
	on(t, lab.Alice) // and never off
	while := listed(t, lab.Alice)
	off := on(t, lab.Alice)
	require.Equal(t, while, listed(t, lab.Alice))
	off()
	require.Equal(t, before, listed(t, lab.Alice))

	on(t, lab.Alice)
	lab.Alice.Do(func() {
		require.NoError(t, Recover())
		require.NoError(t, Recover())
	})
	require.Equal(t, before, listed(t, lab.Alice))
}

// The client's own socket gets its answers, however strictly the host checks where
// they come from; and of two servers it is the last one named.
func TestServersAnswer(t *testing.T) {
	lab := netlab.New(t)
	echo := func(h *netlab.Host) netip.AddrPort {
		h.Start(t, "socat", "UDP4-RECVFROM:5555,fork", "PIPE")
		netlab.Eventually(t, limit, "the echo listens", func() bool {
			out, _ := h.Try("ss", "-Hlun", "sport = 5555")
			return out != ""
		})
		return netip.AddrPortFrom(h.V4, 5555)
	}
	first, second := echo(lab.Server), echo(lab.Web)
	answers := func(server netip.AddrPort) (ok bool) {
		lab.Alice.Do(func() {
			d := net.Dialer{Control: route.Mark}
			c, err := d.Dial("udp4", server.String())
			require.NoError(t, err)
			defer c.Close()
			for range 3 {
				_, err = c.Write([]byte("hello"))
				require.NoError(t, err)
				c.SetReadDeadline(time.Now().Add(time.Second / 2))
				if n, _ := c.Read(make([]byte, 10)); n == 5 {
					ok = true
					return
				}
			}
		})
		return ok
	}
	for _, strictness := range []string{"0", "1", "2"} {
		for _, conf := range []string{"all", "default", "eth0"} {
			lab.Alice.Write(t, "ipv4/conf/"+conf+"/rp_filter", strictness)
		}
		require.True(t, answers(first) && answers(second), "without a switch")
		var s *Switch
		lab.Alice.Do(func() {
			var err error
			s, err = On(nil, true)
			require.NoError(t, err)
		})
		require.Equal(t, strictness == "0", answers(first), "nobody said that this is the server: rp_filter %s", strictness)
		lab.Alice.Do(func() { require.NoError(t, s.Server("udp", first)) })
		require.True(t, answers(first), "rp_filter %s", strictness)
		lab.Alice.Do(func() { require.NoError(t, s.Server("udp", second)) })
		require.True(t, answers(second), "rp_filter %s", strictness)
		require.Equal(t, strictness == "0", answers(first), "rp_filter %s", strictness)
		lab.Alice.Do(func() { require.NoError(t, s.Off()) })
	}
}
