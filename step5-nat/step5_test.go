// Package step5_test tries the programs of this step as they are used: on hosts
// in network namespaces, with other people's tools.
package step5_test

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/lab/site"
	"stepvpn/shared/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m, "./cmd/client", "./cmd/server") }

const limit = 60 * time.Second // bounds each wait; a busy machine is slow

// newKey makes a key file.
func newKey(t *testing.T) string {
	name := filepath.Join(t.TempDir(), "vpn.key")
	text := base64.StdEncoding.EncodeToString([]byte("only for this test, 32 bytes it is"[:32])) + "\n"
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

func server(t *testing.T, lab *netlab.Lab, key string, flags ...string) *netlab.Process {
	p := lab.Server.Start(t, netlab.Program("server"), append([]string{"-key", key}, flags...)...)
	p.WaitLog(t, "tunnel is up")
	return p
}

// connect starts both programs and waits until alice reaches the web site.
func connect(t *testing.T, lab *netlab.Lab, serverFlags, clientFlags string) (s, c *netlab.Process) {
	t.Helper()
	key := newKey(t)
	s = server(t, lab, key, strings.Fields(serverFlags)...)
	flags := append([]string{"-key", key, "-server", lab.Server.V4.String() + ":5555"}, strings.Fields(clientFlags)...)
	c = lab.Alice.Start(t, netlab.Program("client"), flags...)
	c.WaitLog(t, "tunnel is up")
	netlab.Eventually(t, limit, "alice reaches the web site", func() bool {
		_, err := lab.Alice.Try("ping", "-c", "1", "-W", "1", lab.Web.V4.String())
		return err == nil
	})
	return s, c
}

// whoami is the address under which the web site sees a host.
func whoami(t *testing.T, h *netlab.Host, site netip.Addr) string {
	t.Helper()
	out := h.Run(t, "curl", "-sS", "--max-time", "20", "http://"+netip.AddrPortFrom(site, 80).String()+"/whoami")
	return strings.TrimSpace(out)
}

// state is all that the programs may change on a host.
func state(t *testing.T, h *netlab.Host) string {
	t.Helper()
	return h.Run(t, "bash", "-c", `
		ip -4 rule; ip -6 rule; ip -4 route show table all; ip -6 route show table all; ip -o link | cut -d: -f2
		iptables-save | grep -e ^-A -e '^:.* - '; ip6tables-save | grep -e ^-A -e '^:.* - '
		sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding
		sysctl -a -r 'rp_filter|accept_ra$' 2>/dev/null | grep -v vpn0`)
}

func interrupt(t *testing.T, processes ...*netlab.Process) {
	t.Helper()
	for _, p := range processes {
		p.Interrupt()
		require.Zero(t, p.Wait(t), p.Log())
	}
}

func TestEverythingLeavesThroughTheServer(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			lab := netlab.New(t)
			lab.Web.ServeSite(t)
			aliceBefore, serverBefore := state(t, lab.Alice), state(t, lab.Server)
			require.Equal(t, lab.Alice.V4.String(), whoami(t, lab.Alice, lab.Web.V4))

			s, c := connect(t, lab, "-transport "+network, "-transport "+network)
			require.Equal(t, lab.Server.V4.String(), whoami(t, lab.Alice, lab.Web.V4))
			require.Equal(t, lab.Server.V6.String(), whoami(t, lab.Alice, lab.Web.V6))
			require.Equal(t, lab.Bob.V4.String(), whoami(t, lab.Bob, lab.Web.V4), "bob has no VPN")
			lab.Alice.Run(t, "ping", "-c", "1", "-W", "5", lab.Bob.V4.String())
			lab.Alice.Run(t, "ping", "-c", "1", "-W", "5", lab.Bob.V6.String())
			got := lab.Alice.Run(t, "bash", "-c", fmt.Sprintf("curl -sS --max-time 50 http://%v/file?bytes=%d | sha256sum", lab.Web.V4, 4<<20))
			require.Equal(t, site.Hash(4<<20), strings.Fields(got)[0])

			interrupt(t, c, s)
			require.Equal(t, aliceBefore, state(t, lab.Alice))
			require.Equal(t, serverBefore, state(t, lab.Server))
			require.Equal(t, lab.Alice.V4.String(), whoami(t, lab.Alice, lab.Web.V4))
		})
	}
}

// leaks is a filter for what alice must not send past the tunnel. Neighbour
// discovery and multicast reports are how IPv6 talks on a wire.
func leaks(lab *netlab.Lab) string {
	return fmt.Sprintf("(ip or ip6) and (src %v or src %v or src net fe80::/10) and not (dst %v and udp dst port 5555)"+
		" and not (ip6 and icmp6[icmp6type] >= 133 and icmp6[icmp6type] <= 136) and not ip6 dst net ff02::/16",
		lab.Alice.V4, lab.Alice.V6, lab.Server.V4)
}

func TestNothingLeaks(t *testing.T) {
	lab := netlab.New(t)
	lab.Web.ServeSite(t)
	use := func() {
		lab.Alice.Try("ping", "-c", "1", "-W", "1", lab.Web.V4.String())
		lab.Alice.Try("ping", "-c", "1", "-W", "1", lab.Web.V6.String())
		lab.Alice.Try("curl", "-sS", "--max-time", "5", "http://"+lab.Web.V4.String()+"/")
		lab.Alice.Try("traceroute", "-n", "-q", "1", "-w", "1", "-m", "4", lab.Web.V4.String())
		lab.Alice.Try("traceroute", "-6", "-n", "-q", "1", "-w", "1", "-m", "4", lab.Web.V6.String())
		// Another port of the server, and a program that chooses its address.
		lab.Alice.Try("curl", "-sS", "--max-time", "2", "http://"+lab.Server.V4.String()+"/")
		lab.Alice.Try("ping", "-c", "1", "-W", "1", "-I", lab.Alice.V4.String(), lab.Web.V4.String())
	}
	capture := lab.Cafe.Capture(t, "br0", leaks(lab))
	use()
	require.Greater(t, len(capture.Stop()), 10, "the detector must see the leak first")

	for _, clientFlags := range []string{"", "-addr 10.8.0.2/24"} {
		s, c := connect(t, lab, "", clientFlags)
		capture = lab.Cafe.Capture(t, "br0", leaks(lab))
		use()
		require.Empty(t, capture.Stop(), "client %s", clientFlags)
		interrupt(t, c, s)
	}
}

func TestIPv6IsRefusedAtOnceWhereTheTunnelHasNone(t *testing.T) {
	lab := netlab.New(t)
	lab.Web.ServeSite(t)
	s, c := connect(t, lab, "", "-addr 10.8.0.2/24")
	out, err := lab.Alice.Try("curl", "-sS", "--max-time", "20", "http://["+lab.Web.V6.String()+"]/whoami")
	require.Error(t, err)
	require.NotContains(t, out, "timed out")
	require.Equal(t, lab.Server.V4.String(), whoami(t, lab.Alice, lab.Web.V4))
	lab.Alice.Run(t, "ping", "-c", "1", "-W", "5", lab.Bob.V6.String())
	interrupt(t, c, s)
	require.Equal(t, lab.Alice.V6.String(), whoami(t, lab.Alice, lab.Web.V6))
}

// The tunnel carries only IPv6, over IPv4. That works whatever the host's check of
// sources.
func TestIPv6OverIPv4(t *testing.T) {
	lab := netlab.New(t)
	lab.Web.ServeSite(t)
	server(t, lab, newKey(t))
	key := newKey(t)
	for _, strictness := range []string{"0", "1", "2"} {
		for _, conf := range []string{"all", "default", "eth0"} {
			lab.Alice.Write(t, "ipv4/conf/"+conf+"/rp_filter", strictness)
		}
		before := state(t, lab.Alice)
		c := lab.Alice.Start(t, netlab.Program("client"), "-key", key, "-server", "203.0.113.10:5555", "-addr", "fd00:8::2/64")
		c.WaitLog(t, "tunnel is up")
		require.Equal(t, lab.Server.V6.String(), whoami(t, lab.Alice, lab.Web.V6), "rp_filter=%s", strictness)
		_, err := lab.Alice.Try("ping", "-c", "1", "-W", "1", lab.Web.V4.String())
		require.Error(t, err, "IPv4 is refused")
		interrupt(t, c)
		require.Equal(t, before, state(t, lab.Alice))
	}
}

func TestKillAndANewStart(t *testing.T) {
	lab := netlab.New(t)
	lab.Web.ServeSite(t)
	aliceBefore, serverBefore := state(t, lab.Alice), state(t, lab.Server)
	for _, second := range []string{"", "-addr 10.8.0.2/24"} {
		s, c := connect(t, lab, "", "")
		c.Kill()
		c.Wait(t)
		s.Kill()
		s.Wait(t)
		require.NotEqual(t, aliceBefore, state(t, lab.Alice), "or the test shows nothing")
		require.NotEqual(t, serverBefore, state(t, lab.Server))
		s, c = connect(t, lab, "", second)
		require.Equal(t, lab.Server.V4.String(), whoami(t, lab.Alice, lab.Web.V4))
		interrupt(t, c, s)
		require.Equal(t, aliceBefore, state(t, lab.Alice))
		require.Equal(t, serverBefore, state(t, lab.Server))
	}
}

// A host as Docker leaves it: nothing is forwarded unless a rule allows it.
func TestForwardPolicyDrop(t *testing.T) {
	lab := netlab.New(t)
	lab.Web.ServeSite(t)
	for _, iptables := range []string{"iptables", "ip6tables"} {
		lab.Server.Run(t, iptables, "-P", "FORWARD", "DROP")
		lab.Server.Run(t, iptables, "-N", "DOCKER-USER")
		lab.Server.Run(t, iptables, "-A", "DOCKER-USER", "-j", "RETURN")
		lab.Server.Run(t, iptables, "-A", "FORWARD", "-j", "DOCKER-USER")
	}
	before := state(t, lab.Server)
	s, c := connect(t, lab, "", "")
	require.Equal(t, lab.Server.V4.String(), whoami(t, lab.Alice, lab.Web.V4))
	require.Equal(t, lab.Server.V6.String(), whoami(t, lab.Alice, lab.Web.V6))
	interrupt(t, c, s)
	require.Equal(t, before, state(t, lab.Server))
}

// A host that drops packets from an interface by which it would not answer.
func TestStrictReversePath(t *testing.T) {
	lab := netlab.New(t)
	lab.Web.ServeSite(t)
	for _, h := range []*netlab.Host{lab.Alice, lab.Server} {
		h.Run(t, "bash", "-c", "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 >$f; done")
	}
	before := state(t, lab.Alice)
	for _, network := range []string{"udp", "tcp"} {
		s, c := connect(t, lab, "-transport "+network, "-transport "+network)
		require.Equal(t, lab.Server.V4.String(), whoami(t, lab.Alice, lab.Web.V4))
		interrupt(t, c, s)
	}
	require.Equal(t, before, state(t, lab.Alice))
}

// A client's connections are made to fit the tunnel on the way back, too.
func TestMSSIsClamped(t *testing.T) {
	lab := netlab.New(t)
	lab.Web.ServeSite(t)
	connect(t, lab, "", "")
	capture := lab.Web.Capture(t, "eth0", "tcp[tcpflags] & tcp-syn != 0 and tcp[tcpflags] & tcp-ack == 0")
	whoami(t, lab.Alice, lab.Web.V4)
	lines := capture.Stop()
	require.NotEmpty(t, lines)
	require.Regexp(t, `mss 1(380|400)\b`, lines[0])
}

func TestBadInput(t *testing.T) {
	lab := netlab.New(t)
	key := newKey(t)
	lab.Server.Run(t, "ip", "tuntap", "add", "taken0", "mode", "tun")
	lab.Bob.Run(t, "ip", "route", "del", "default")
	lab.Bob.Run(t, "ip", "-6", "route", "del", "default")
	// A host with no iptables: an empty PATH does.
	bare := []string{"env", "PATH=/nowhere"}
	for _, c := range []struct {
		name  string
		host  *netlab.Host
		flags string
		wrap  []string
		code  int
		text  string
	}{
		{"no key file", lab.Server, "-key /nowhere", nil, 1, "there is no key file /nowhere"},
		{"unknown egress", lab.Server, "-egress nope0", nil, 1, "nope0"},
		{"the tunnel as egress", lab.Server, "-egress vpn0", nil, 1, "vpn0"},
		{"overlap with the LAN", lab.Server, "-addr 203.0.113.1/24", nil, 1, "overlap"},
		{"overlap with itself", lab.Server, "-addr 10.8.0.1/24,10.8.0.5/25", nil, 1, "overlap"},
		{"device name taken", lab.Server, "-dev taken0", nil, 1, "taken0"},
		{"port taken", lab.Server, "-listen 127.0.0.1:7", nil, 1, "address already in use"},
		{"not root", lab.Server, "", []string{"setpriv", "--bounding-set=-all", "--inh-caps=-all"}, 1, "root"},
		{"iptables missing", lab.Server, "", bare, 1, "iptables"},
		{"no default route", lab.Bob, "", nil, 1, "default route"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "port taken" {
				server(t, lab, key, "-listen", "127.0.0.1:7", "-dev", "vpn7", "-addr", "10.77.0.1/24")
			}
			before := state(t, c.host)
			args := append(c.wrap, netlab.Program("server"), "-key", key)
			args = append(args, strings.Fields(c.flags)...)
			p := c.host.Start(t, args[0], args[1:]...)
			require.Equal(t, c.code, p.Wait(t), p.Log())
			require.Contains(t, p.Log(), c.text)
			require.Equal(t, before, state(t, c.host), "something is left behind")
		})
	}

	t.Run("client without a key file", func(t *testing.T) {
		p := lab.Alice.Start(t, netlab.Program("client"), "-key", "/nowhere", "-server", "203.0.113.10:5555", "-tries", "1")
		require.Equal(t, 1, p.Wait(t))
		require.Contains(t, p.Log(), "there is no key file /nowhere")
	})
	t.Run("client without a default route", func(t *testing.T) {
		p := lab.Bob.Start(t, netlab.Program("client"), "-key", key, "-server", "203.0.113.10:5555", "-tries", "1")
		require.Equal(t, 1, p.Wait(t))
		require.Contains(t, p.Log(), "client: ")
	})
	t.Run("client overlaps with its LAN", func(t *testing.T) {
		server(t, lab, key)
		before := state(t, lab.Alice)
		p := lab.Alice.Start(t, netlab.Program("client"), "-key", key, "-server", "203.0.113.10:5555", "-addr", "198.51.100.77/24")
		require.Equal(t, 1, p.Wait(t), p.Log())
		require.Contains(t, p.Log(), "overlap")
		require.Equal(t, before, state(t, lab.Alice))
	})
}
