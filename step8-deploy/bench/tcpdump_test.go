package bench

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

var (
	// What tcpdump -vv prints about a wrong checksum in IP, TCP and UDP.
	wrong = regexp.MustCompile(`bad cksum|\(incorrect|bad udp cksum`)
	right = regexp.MustCompile(`\(correct\)|udp sum ok`)
	// The length of the IP packet.
	ipLength = regexp.MustCompile(`(?:, length|payload length:) (\d+)\)`)
)

// longest returns the length of the longest packet of a capture, with its header.
func longest(t *testing.T, lines []string) (n int) {
	t.Helper()
	for _, line := range lines {
		for _, m := range ipLength.FindAllStringSubmatch(line, -1) {
			length, err := strconv.Atoi(m[1])
			require.NoError(t, err)
			n = max(n, length)
		}
	}
	return n
}

func requireRight(t *testing.T, lines []string) {
	t.Helper()
	for _, line := range lines {
		require.NotRegexp(t, wrong, line)
	}
	require.Greater(t, len(right.FindAllString(strings.Join(lines, "\n"), -1)), 100)
}

// If fast ends segment packets, tcpdump sees whole packets with correct checksums: it captures
// where simple ends hand them over one by one.
func TestCutPacketsAreRight(t *testing.T) {
	lab := netlab.New(t)
	u := connect(t, lab, nil, []string{"-simple"})
	lab.Alice.ServeSite(t)
	inside := lab.Server.Capture(t, "vpn0", "")
	download(t, lab.Server, alice4, 1<<20)
	download(t, lab.Server, "["+alice6+"]", 1<<20)
	echo(t, lab, server4, 1000)
	echo(t, lab, server6, 1000)
	inside.Stop()
	for _, src := range []string{alice4, alice6} {
		lines := inside.Read("-vv", "src host "+src)
		requireRight(t, lines)
		require.LessOrEqual(t, longest(t, lines), 1500)
	}
	u.stop(t)
}

// The kernel accepts packets that fast ends have coalesced, and when it forwards them, it
// segments them into packets with correct checksums. The device shows that they were
// coalesced.
func TestJoinedPacketsAreRight(t *testing.T) {
	lab := netlab.New(t)
	u := connect(t, lab, nil, nil)
	// A second tunnel, with simple ends, leads on from the server to web.
	lab.Web.Start(t, netlab.Program("peer"), "-simple", "-listen", ":5555", "-addr", "10.9.0.1/24,fd00:9::1/64").WaitLog(t, "tunnel is up")
	lab.Server.Start(t, netlab.Program("peer"), "-simple", "-dev", "vpn1", "-server", lab.Web.V4.String()+":5555",
		"-addr", "10.9.0.2/24,fd00:9::2/64").WaitLog(t, "tunnel is up")
	for _, v := range []string{"ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"} {
		lab.Server.Write(t, v, "1")
	}
	for _, route := range []string{"10.9.0.0/24", "fd00:9::/64"} {
		lab.Alice.Run(t, "ip", "route", "add", route, "dev", "vpn0")
	}
	lab.Web.Run(t, "ip", "route", "add", "10.8.0.0/24", "dev", "vpn0")
	lab.Web.Run(t, "ip", "route", "add", "fd00:8::/64", "dev", "vpn0")
	lab.Alice.ServeSite(t)

	came := lab.Server.Capture(t, "vpn0", "")
	left := lab.Server.Capture(t, "vpn1", "")
	download(t, lab.Web, alice4, 1<<20)
	download(t, lab.Web, "["+alice6+"]", 1<<20)
	echo(t, lab, server4, 1000)
	echo(t, lab, server6, 1000)
	came.Stop()
	left.Stop()
	for _, src := range []string{alice4, alice6} {
		require.Greater(t, longest(t, came.Read("-vv", "tcp and src host "+src)), 1500, "TCP was joined")
		require.Greater(t, longest(t, came.Read("-vv", "udp and src host "+src)), 1500, "UDP was joined")
		lines := left.Read("-vv", "src host "+src)
		require.LessOrEqual(t, longest(t, lines), 1500)
		requireRight(t, lines)
	}
	u.stop(t)
	require.Zero(t, checksumErrors(t, lab.Web))
}

// Each switch that turns an offload off does so.
func TestNoJoinOnDevice(t *testing.T) {
	lab := netlab.New(t)
	u := connect(t, lab, nil, []string{"-no-tun-gro"})
	lab.Alice.ServeSite(t)
	inside := lab.Server.Capture(t, "vpn0", "src "+alice4)
	download(t, lab.Server, alice4, 1<<20)
	inside.Stop()
	require.LessOrEqual(t, longest(t, inside.Read("-vv")), 1500)
	u.stop(t)
}

// Tunnels with an MTU below the path's, even with a different one at each end, carry packets
// of all sizes.
func TestMTUs(t *testing.T) {
	lab := netlab.New(t)
	lab.Server.ServeSite(t)
	for _, c := range []struct{ client, server string }{{"1280", "1420"}, {"1420", "1280"}, {"1280", "1280"}, {"9000", "1420"}} {
		u := connect(t, lab, []string{"-mtu", c.client}, []string{"-mtu", c.server})
		download(t, lab.Alice, server4, 3<<20)
		u.stop(t)
	}
}
