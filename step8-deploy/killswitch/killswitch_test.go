package killswitch

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
	"stepvpn/step2-tun/tun"
	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/guard"
	"stepvpn/step8-deploy/lan"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	netlab.Main(m)
}

const limit = 20 * time.Second

var (
	addrs      = []netip.Prefix{netip.MustParsePrefix("10.8.0.2/24"), netip.MustParsePrefix("fd00:8::2/64")}
	resolvers  = []netip.Addr{netip.MustParseAddr("10.8.0.1"), netip.MustParseAddr("fd00:8::1")}
	serverAddr = netip.MustParseAddrPort("203.0.113.10:5555")
)

// like is the Config of most tests. The lab's local network has public addresses.
var like = Config{Device: "vpn0", Names: true, LAN: lan.AsRouted}

func on(t *testing.T, h *netlab.Host) (off func()) {
	t.Helper()
	state := t.TempDir()
	closeLike(t, h, like, state)
	return func() { h.Do(func() { require.NoError(t, Open(state)) }) }
}

func closeLike(t *testing.T, h *netlab.Host, c Config, state string) {
	t.Helper()
	h.Do(func() { require.NoError(t, Close(c, state)) })
}

// hold makes a Live that closes the switch as c says, on a thread in the host's namespace.
func (l *Live) hold(h *netlab.Host, c Config) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wanted, l.busy = c.ruleset(liveTable, lan.Networks{}), make(chan struct{})
	h.Do(func() {
		l.mu.Unlock()
		l.settle()
		l.mu.Lock()
	})
}

func listed(t *testing.T, h *netlab.Host) string {
	t.Helper()
	return h.Run(t, "bash", "-c", "ip -4 rule; ip -6 rule; nft list ruleset")
}

// way returns the interface by which a packet would leave, or why it would not.
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

// The kernel itself answers: before the tunnel, without a tunnel, with one, and after it.
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
		require.NoError(t, route.Recover()) // as a client does at the start
		dev, err := tun.Open(tun.Config{Name: "vpn0", Addrs: addrs})
		require.NoError(t, err)
		undoRoute, err := route.Default(route.Config{Device: "vpn0", Addrs: addrs, Network: "udp", Server: serverAddr})
		require.NoError(t, err)
		undoGuard, err := guard.DNS("vpn0", resolvers)
		require.NoError(t, err)
		ask("up", func(i int) string { return questions[i].up })
		require.NoError(t, dev.Close()) // as after kill -9: the rest stays
		ask("killed", func(i int) string { return questions[i].on })
		require.NoError(t, undoGuard())
		require.NoError(t, undoRoute())
	})
	ask("down", func(i int) string { return questions[i].on })

	off()
	off() // a second call has no effect
	require.Equal(t, before, listed(t, lab.Alice))
}

// Eve captures the traffic of a host that uses the internet. Without the switch, she sees it.
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
	lab.Alice.Run(t, "ping", "-c", "1", "-W", "5", lab.Bob.V4.String()) // the local network is reachable
}

// A program that ties its socket to an interface, which needs no privilege, gets past the
// rules, but not past the table, whether or not the tunnel is up.
func TestTiedToAnInterface(t *testing.T) {
	lab := netlab.New(t)
	filter := fmt.Sprintf("ether src %s and not arp and not (dst net 198.51.100.0/24 or dst net 2001:db8:cafe::/64 or dst net fe80::/10 or dst net ff02::/16)",
		strings.TrimSpace(lab.Alice.Run(t, "bash", "-c", "ip -br link show eth0 | awk '{ print $3 }'")))
	use := func() {
		for _, to := range []string{lab.Web.V4.String(), "[" + lab.Web.V6.String() + "]"} {
			lab.Alice.Try("curl", "-sS", "--max-time", "1", "--interface", "eth0", "http://"+to+"/")
		}
		for _, to := range []string{lab.Web.V4.String(), lab.Web.V6.String()} {
			lab.Alice.Try("ping", "-c", "1", "-W", "1", "-I", "eth0", to)
		}
	}
	seen := func(change func()) int {
		t.Helper()
		capture := lab.Cafe.Capture(t, "br0", filter)
		if change != nil {
			lab.Alice.Do(change)
		}
		use()
		return len(capture.Stop())
	}
	// The host takes the receiver of an IPv4 packet for a neighbour, and asks for it by ARP.
	lab.Alice.Run(t, "ip", "neigh", "add", lab.Web.V4.String(), "lladdr", "02:00:00:00:00:01", "dev", "eth0")
	require.Greater(t, seen(nil), 3)
	off := on(t, lab.Alice)
	lab.Alice.Run(t, "nft", "delete table inet stepvpn_killswitch")
	require.NotZero(t, seen(nil), "the rules alone have the hole")

	off2 := on(t, lab.Alice)
	require.Zero(t, seen(nil), "closed")
	var undoRoute func() error
	require.Zero(t, seen(func() {
		dev, err := tun.Open(tun.Config{Name: "vpn0", Addrs: addrs})
		require.NoError(t, err)
		t.Cleanup(func() { dev.Close() })
		undoRoute, err = route.Default(route.Config{Device: "vpn0", Addrs: addrs, Network: "udp", Server: serverAddr})
		require.NoError(t, err)
	}), "with a tunnel")
	lab.Alice.Run(t, "ping", "-c", "1", "-W", "5", "-I", "eth0", lab.Bob.V4.String()) // the local network is reachable
	lab.Alice.Do(func() { require.NoError(t, undoRoute()) })
	off2()
	off()
	require.Greater(t, seen(nil), 3)
}

// While the switch is closed, such a program reaches neither a resolver of the local network
// nor anything far away. The kernel tells it so at once.
func TestTiedWhileClosed(t *testing.T) {
	lab := netlab.New(t)
	send := func(to netip.Addr, port int) (err error) {
		lab.Alice.Do(func() {
			s, e := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			require.NoError(t, e)
			defer unix.Close(s)
			require.NoError(t, unix.BindToDevice(s, "eth0"))
			err = unix.Sendto(s, []byte("x"), 0, &unix.SockaddrInet4{Addr: to.As4(), Port: port})
		})
		return err
	}
	require.NoError(t, send(lab.Cafe.V4, 53), "the detector")
	require.NoError(t, send(lab.Web.V4, 80), "the detector")
	on(t, lab.Alice)
	require.NoError(t, send(lab.Cafe.V4, 80), "the local network is there")
	require.ErrorIs(t, send(lab.Cafe.V4, 53), unix.EPERM, "it has asked a resolver of the local network")
	require.ErrorIs(t, send(lab.Web.V4, 80), unix.EPERM, "it has reached a host of the internet")
}

// In another network, other hosts are local; and only some networks go through the tunnel.
func TestRuleset(t *testing.T) {
	lab := netlab.New(t)
	c := Config{Device: "vpn0", Only: prefixes("10.0.0.0/8", "10.1.0.0/16"), LAN: lan.Private, Tunnel: prefixes("10.8.0.0/24")}
	state := t.TempDir()
	closeLike(t, lab.Alice, c, state)
	lab.Alice.Run(t, "ping", "-c", "1", "-W", "5", "-I", "eth0", lab.Web.V4.String())
	lab.Alice.Run(t, "ping", "-c", "1", "-W", "5", "-I", "eth0", lab.Web.V6.String())
	lab.Alice.Run(t, "ip", "addr", "add", "10.7.0.2/24", "dev", "eth0")
	look := func(want bool) {
		t.Helper()
		closeLike(t, lab.Alice, c, state)
		require.Equal(t, want, strings.Contains(lab.Alice.Run(t, "nft", "list ruleset"), "10.7.0.0/24"))
		require.Equal(t, want, strings.Contains(lab.Alice.Run(t, "ip", "rule"), "10.7.0.0/24"))
	}
	look(false)
	require.Equal(t, "Network is unreachable", way(lab.Alice, "10.7.0.1"), "the tunnel's networks are not local")

	c.Only = nil
	look(true)
	require.Equal(t, "eth0", way(lab.Alice, "10.7.0.1"))

	// A network inside the local network that is behind a gateway is not local.
	lab.Alice.Run(t, "ip", "route", "add", "10.7.0.128/25", "via", lab.Cafe.V4.String())
	require.Equal(t, "eth0", way(lab.Alice, "10.7.0.200"))
	look(true)
	require.Equal(t, "Network is unreachable", way(lab.Alice, "10.7.0.200"))
	require.Equal(t, "eth0", way(lab.Alice, "10.7.0.1"))
	require.Contains(t, lab.Alice.Run(t, "nft", "list ruleset"), "ip daddr 10.7.0.128/25 reject")
	// The tunnel's own networks are not local, also when they are no longer known.
	c.Tunnel = nil
	lab.Alice.Run(t, "ip", "addr", "add", "10.8.0.77/24", "dev", "eth0")
	look(true)
	require.Equal(t, "Network is unreachable", way(lab.Alice, "10.8.0.1"))
	_, err := lab.Alice.Try("ping", "-c", "1", "-W", "1", "-I", "eth0", "10.8.0.1")
	require.Error(t, err)

	lab.Alice.Do(func() { require.NoError(t, Open(state)) })
	require.NotContains(t, listed(t, lab.Alice), "stepvpn")
}

func prefixes(list ...string) (ps []netip.Prefix) {
	for _, s := range list {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

// tied reports whether a packet gets out if its program ties the socket to an interface.
func tied(t *testing.T, lab *netlab.Lab) bool {
	t.Helper()
	c := lab.Cafe.Capture(t, "br0", fmt.Sprintf("icmp and src %v and dst %v", lab.Alice.V4, lab.Web.V4))
	lab.Alice.Try("ping", "-c", "1", "-W", "0.1", "-I", "eth0", lab.Web.V4.String())
	return len(c.Stop()) > 0
}

// A flush of all rules leaves the table that has an owner. Close puts back the other table,
// and rules that were removed.
func TestFlushed(t *testing.T) {
	lab := netlab.New(t)
	router := strings.Fields(lab.Cafe.Run(t, "ip", "-br", "link", "show", "br0"))[2]
	lab.Alice.Run(t, "ip", "neigh", "add", lab.Web.V4.String(), "lladdr", router, "dev", "eth0")
	require.True(t, tied(t, lab), "such a program gets out")
	state := t.TempDir()
	closeLike(t, lab.Alice, like, state)
	require.False(t, tied(t, lab))
	lab.Alice.Run(t, "nft", "flush ruleset")
	require.True(t, tied(t, lab), "a flush opens it")
	closeLike(t, lab.Alice, like, state)
	require.False(t, tied(t, lab))

	var live Live
	live.hold(lab.Alice, like)
	before := listed(t, lab.Alice)
	lab.Alice.Run(t, "nft", "flush ruleset")
	lab.Alice.Run(t, "bash", "-c", "for f in -4 -6; do for p in $(ip $f rule | sed -n 's/:.*proto 87//p'); do ip $f rule del priority $p; done; done")
	require.False(t, tied(t, lab), "the table with an owner is there")
	closeLike(t, lab.Alice, like, state)
	require.ElementsMatch(t, strings.Split(before, "\n"), strings.Split(listed(t, lab.Alice), "\n"))

	// The table follows other settings, and ends with its owner.
	c := like
	c.Device = "vpn7"
	live.hold(lab.Alice, c)
	require.Contains(t, lab.Alice.Run(t, "nft", "list table inet stepvpn_killswitch_live"), "vpn7")
	live.Close()
	require.NotContains(t, lab.Alice.Run(t, "nft", "list ruleset"), "_live")
	require.False(t, tied(t, lab))
}

// Somebody ends the nft process that owns the table.
func TestOwnerEnds(t *testing.T) {
	lab := netlab.New(t)
	var live Live
	live.hold(lab.Alice, like)
	first := live.owner
	require.NoError(t, first.cmd.Process.Kill())
	netlab.Eventually(t, limit, "it is gone", func() bool { return first.ended() })
	require.Error(t, first.set("x"))
	require.NotContains(t, listed(t, lab.Alice), "stepvpn")
	live.hold(lab.Alice, like)
	require.Contains(t, listed(t, lab.Alice), "stepvpn")
	live.Close()
	live.Close()
	require.NotContains(t, listed(t, lab.Alice), "stepvpn")
}

// A pause opens the switch for everybody. If nobody else ends it, the kernel does.
func TestPause(t *testing.T) {
	lab := netlab.New(t)
	open := func() bool {
		_, err4 := lab.Alice.Try("ping", "-c", "1", "-W", "1", lab.Web.V4.String())
		_, err6 := lab.Alice.Try("ping", "-c", "1", "-W", "1", lab.Web.V6.String())
		require.Equal(t, err4 == nil, err6 == nil)
		return err4 == nil
	}
	pause := func(d time.Duration) (err error) {
		lab.Alice.Do(func() { err = Pause(d) })
		return err
	}
	require.ErrorContains(t, pause(time.Minute), "no kill switch is closed")
	state := t.TempDir()
	closeLike(t, lab.Alice, like, state)
	var live Live
	live.hold(lab.Alice, like)
	defer live.Close()
	before := listed(t, lab.Alice)
	require.False(t, open())
	require.NoError(t, pause(time.Hour))
	require.True(t, open())
	lab.Alice.Do(func() {
		require.InDelta(t, time.Hour, Paused(), float64(time.Minute))
		require.NoError(t, Close(like, state))
		require.True(t, open(), "a switch that is closed again knows of the pause")
		require.NoError(t, EndPause())
	})
	require.False(t, open())
	require.ElementsMatch(t, strings.Split(before, "\n"), strings.Split(listed(t, lab.Alice), "\n"))

	require.NoError(t, pause(2*time.Second))
	netlab.Eventually(t, limit, "the pause is over", func() bool {
		out, _ := lab.Alice.Try("nft", "list", "set", "inet", "stepvpn_pause", "open")
		return !strings.Contains(out, "expires")
	})
	require.False(t, open())
	require.False(t, tied(t, lab))
	lab.Alice.Do(func() {
		require.Zero(t, Paused())
		require.NoError(t, Close(like, state))
	})
	require.Equal(t, "Network is unreachable", way(lab.Alice, lab.Web.V4.String()))
}

// A client that can't start puts back what was flushed, and ends a pause that is over, unless
// another one runs.
func TestReclose(t *testing.T) {
	lab := netlab.New(t)
	state := filepath.Join(t.TempDir(), "state")
	reclose := func() { lab.Alice.Do(func() { require.NoError(t, Reclose(state)) }) }
	nothing := listed(t, lab.Alice)
	reclose()
	require.Equal(t, nothing, listed(t, lab.Alice), "a switch that was never closed")
	require.NoDirExists(t, state)

	closeLike(t, lab.Alice, like, state)
	before := listed(t, lab.Alice)
	lab.Alice.Do(func() { require.NoError(t, Pause(time.Hour)) })
	reclose()
	lab.Alice.Do(func() { require.NotZero(t, Paused(), "a pause stays") })
	require.Contains(t, listed(t, lab.Alice), "22507:")

	lab.Alice.Run(t, "nft", "flush", "ruleset") // with the set that ends the pause
	flushed := listed(t, lab.Alice)
	unlock, err := Lock(state)
	require.NoError(t, err)
	reclose()
	require.Equal(t, flushed, listed(t, lab.Alice), "another client runs")
	require.NoError(t, unlock())
	_, err = lab.Alice.Try("ping", "-c", "1", "-W", "1", lab.Web.V4.String())
	require.NoError(t, err, "the detector sees an open switch")
	reclose()
	require.ElementsMatch(t, strings.Split(before, "\n"), strings.Split(listed(t, lab.Alice), "\n"))
	require.False(t, tied(t, lab))
	_, err = lab.Alice.Try("ping", "-c", "1", "-W", "1", lab.Web.V4.String())
	require.Error(t, err)
}

// After a boot, the switch is closed as before. If the saved file can't be read, everything is
// closed.
func TestRestore(t *testing.T) {
	lab := netlab.New(t)
	state := t.TempDir()
	restore := func() (found bool) {
		lab.Alice.Do(func() {
			var err error
			_, found, err = Restore(state)
			require.NoError(t, err)
		})
		return found
	}
	require.False(t, restore())
	require.NotContains(t, listed(t, lab.Alice), "stepvpn")
	c := Config{Device: "vpn0", Only: prefixes("203.0.113.64/27"), LAN: lan.None, Tunnel: prefixes("10.8.0.0/24")}
	reboot := func() {
		lab.Alice.Run(t, "bash", "-c", "nft flush ruleset; for f in -4 -6; do for p in $(ip $f rule | sed -n 's/:.*proto 87//p'); do ip $f rule del priority $p; done; done")
		require.NotContains(t, listed(t, lab.Alice), "proto 87")
	}
	lab.Alice.Do(func() {
		require.NoError(t, Close(c, state))
	})
	before := listed(t, lab.Alice)
	reboot()
	require.True(t, restore())
	require.Equal(t, before, listed(t, lab.Alice))

	for _, text := range []string{"", "{", `{"device":"x\" accept; #","lan":"private"}`, `{"device":"vpn0","lan":"all"}`, `{"only":["10.0.0.0/99"],"lan":"private"}`} {
		reboot()
		require.NoError(t, os.WriteFile(state+"/"+fileName, []byte(text), 0o600))
		require.True(t, restore())
		require.Equal(t, "Network is unreachable", way(lab.Alice, lab.Web.V4.String()), text)
		require.Equal(t, "Network is unreachable", way(lab.Alice, lab.Server.V4.String()), text)
	}
	reboot()
	require.NoError(t, os.Remove(state+"/"+fileName))
	require.NoError(t, syscall.Mkfifo(state+"/"+fileName, 0o600))
	require.True(t, restore())
	require.Equal(t, "Network is unreachable", way(lab.Alice, lab.Web.V4.String()))
	lab.Alice.Do(func() { require.NoError(t, Open(state)) })
	require.False(t, restore(), "opening the switch removes its file")
}

// An error opens nothing. If nothing was closed before, no half-closed switch stays.
func TestErrorOpensNothing(t *testing.T) {
	lab := netlab.New(t)
	without := func() (err error) {
		t.Setenv("PATH", t.TempDir()) // there is no program nft
		lab.Alice.Do(func() { err = Close(like, t.TempDir()) })
		return err
	}
	before := listed(t, lab.Alice)
	path := os.Getenv("PATH")
	require.ErrorContains(t, without(), "nft is not installed")
	t.Setenv("PATH", path)
	require.Equal(t, before, listed(t, lab.Alice))
	on(t, lab.Alice)
	while := listed(t, lab.Alice)
	require.ErrorContains(t, without(), "nft is not installed")
	t.Setenv("PATH", path)
	require.Equal(t, while, listed(t, lab.Alice))

	// After a boot, the kernel has no rules, but the switch had been closed before.
	state := t.TempDir()
	lab.Alice.Do(func() { require.NoError(t, like.save(state)) })
	lab.Alice.Do(func() { require.NoError(t, Open(t.TempDir())) })
	require.Equal(t, before, listed(t, lab.Alice))
	t.Setenv("PATH", t.TempDir())
	lab.Alice.Do(func() {
		require.ErrorContains(t, Close(like, state), "nft is not installed")
	})
	t.Setenv("PATH", path)
	require.Equal(t, "Network is unreachable", way(lab.Alice, lab.Web.V4.String()), "rules take no nft")
	require.FileExists(t, state+"/"+fileName)
}

// Names are not looked up on the link, with or without a local network.
func TestNamesOfTheLink(t *testing.T) {
	lab := netlab.New(t)
	seen := func() int {
		c := lab.Cafe.Capture(t, "br0", fmt.Sprintf("src host %v and udp and (port 5355 or port 5353)", lab.Alice.V4))
		for _, port := range []string{"5355", "5353"} {
			lab.Alice.Try("bash", "-c", "echo x | socat - UDP4-DATAGRAM:224.0.0.251:"+port+",ip-multicast-if="+lab.Alice.V4.String())
		}
		return len(c.Stop())
	}
	require.Equal(t, 2, seen())
	state := t.TempDir()
	closeLike(t, lab.Alice, Config{Device: "vpn0", Names: true, LAN: lan.Private}, state)
	require.Equal(t, 1, seen(), "multicast DNS is of the link alone")
	closeLike(t, lab.Alice, Config{Device: "vpn0", Names: true, LAN: lan.None}, state)
	require.Zero(t, seen())
}

// After kill -9, the rules stay. The next client takes them over, and Off removes them.
func TestAfterKill(t *testing.T) {
	lab := netlab.New(t)
	before := listed(t, lab.Alice)
	on(t, lab.Alice) // and never calls Off
	while := listed(t, lab.Alice)
	off := on(t, lab.Alice)
	require.Equal(t, while, listed(t, lab.Alice))
	off()
	require.Equal(t, before, listed(t, lab.Alice))

	on(t, lab.Alice)
	lab.Alice.Do(func() {
		require.NoError(t, Open(t.TempDir()))
		require.NoError(t, Open(t.TempDir()))
	})
	require.Equal(t, before, listed(t, lab.Alice))
}

// A damaged file of the state is set aside before a new one is written.
func TestSaveSetsAsideWhatIsDamaged(t *testing.T) {
	for _, damage := range []string{"", "{\"", "\x00\x00", `{"LAN": "x"}`} {
		state := t.TempDir()
		like.Save(state)
		name := filepath.Join(state, fileName)
		like.Save(state)
		require.NoFileExists(t, name+".damaged")
		require.NoError(t, os.WriteFile(name, []byte(damage), 0o600))
		like.Save(state)
		aside, err := os.ReadFile(name + ".damaged")
		require.NoError(t, err)
		require.Equal(t, damage, string(aside))
		saved, found, err := Saved(state)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, like, saved)
	}
}
