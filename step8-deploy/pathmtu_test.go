package step8_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/shared/soak"
)

// narrow changes the MTU of the path between the cafe and the internet. Silent routers do not
// tell the sender of longer packets.
func (w *world) narrow(t *testing.T, mtu int, silent bool) {
	t.Helper()
	for host, dev := range map[*netlab.Host]string{w.Cafe: "up0", w.Internet: "cafe0"} {
		host.Run(t, "ip", "link", "set", dev, "mtu", strconv.Itoa(mtu))
		if silent {
			host.Run(t, "iptables", "-A", "OUTPUT", "-p", "icmp", "--icmp-type", "fragmentation-needed", "-j", "DROP")
			host.Run(t, "ip6tables", "-A", "OUTPUT", "-p", "icmpv6", "--icmpv6-type", "packet-too-big", "-j", "DROP")
		}
	}
}

// mtu returns the MTU of alice's device.
func (w *world) mtu() string {
	out, _ := w.Alice.Try("ip", "-o", "link", "show", "vpn0")
	_, rest, _ := strings.Cut(out, " mtu ")
	mtu, _, _ := strings.Cut(rest, " ")
	return mtu
}

func (w *world) hasMTU(t *testing.T, n int) {
	t.Helper()
	netlab.Eventually(t, limit, fmt.Sprintf("alice's device has an MTU of %d", n), func() bool { return w.mtu() == strconv.Itoa(n) })
}

// fragments moves data in both directions through the tunnel, and returns the fragments that
// pass between the cafe and the internet.
func (w *world) fragments(t *testing.T) []string {
	t.Helper()
	pieces := w.Cafe.Capture(t, "up0", "ip[6:2] & 0x3fff != 0 or ip6[6] == 44")
	for _, flags := range []string{"", "-R"} {
		for _, to := range []string{w.Web.V4.String(), w.Web.V6.String()} {
			netlab.Eventually(t, limit, "3 MB pass to "+to+" "+flags, func() bool {
				_, err := w.Alice.Try("iperf3", strings.Fields("-n 3M -c "+to+" "+flags)...)
				return err == nil
			})
		}
	}
	return pieces.Stop()
}

// The client finds the size that the path carries, whether or not routers report it, and
// nothing has to be fragmented.
func TestPathMTU(t *testing.T) {
	const headers = 20 + 8 + 32 // IPv4, UDP, encryption
	type network struct {
		path   int
		silent bool
		device int
	}
	all := []network{
		{1400, true, 1400 - headers},
		{1280, false, 1280}, // the minimum of IPv6
		{1400, false, 1400 - headers},
		{1280, true, 1280},
	}
	for _, c := range all[:soak.Pick(t, 2, len(all))] {
		t.Run(fmt.Sprintf("%d,silent=%v", c.path, c.silent), func(t *testing.T) {
			w := newWorld(t)
			w.Web.Start(t, "iperf3", "-s", "--forceflush").WaitLog(t, "Server listening")
			w.add(t, "alice", "mtu", 1500-headers)
			w.narrow(t, c.path, c.silent)
			before := state(t, w.Alice)
			w.server(t)
			client := w.client(t)
			require.NotEmpty(t, w.fragments(t), "the detector sees them when the size is set by hand")
			w.hasMTU(t, 1500-headers)
			client.Interrupt()
			require.Zero(t, client.Wait(t), client.Log())

			w.set(t, "alice.toml", "mtu", 0)
			client = w.client(t)
			w.hasMTU(t, c.device)
			client.WaitLog(t, fmt.Sprintf("now=%d", c.path-headers))
			require.Empty(t, w.fragments(t))
			whole := func(size int) error {
				_, err := w.Alice.Try("ping", "-c", "1", "-W", "20", "-M", "do", "-s", strconv.Itoa(size-28), w.Web.V4.String())
				return err
			}
			require.NoError(t, whole(c.device))
			require.Error(t, whole(c.device+1))
			client.Interrupt()
			require.Zero(t, client.Wait(t), client.Log())

			// By now, the kernel has heard of it, too, and computes another size.
			client = w.client(t)
			w.hasMTU(t, c.device)
			w.seenAs(t, w.Server.V4.String())
			client.Interrupt()
			require.Zero(t, client.Wait(t), client.Log())
			require.Equal(t, before, state(t, w.Alice))
		})
	}
}

// Over IPv6, no router fragments packets, and silent routers drop packets that are too long.
// TCP gets through nevertheless, once the client knows the size.
func TestPathMTUOverIPv6(t *testing.T) {
	const headers = 40 + 8 + 32 // IPv6, UDP, encryption
	for path, device := range map[int]int{1400: 1400 - headers, 1280: 1280} {
		t.Run(strconv.Itoa(path), func(t *testing.T) {
			w := newWorld(t)
			w.Web.Start(t, "iperf3", "-s", "--forceflush").WaitLog(t, "Server listening")
			w.add(t, "alice", "mtu", 1500-headers, "server", fmt.Sprintf("[%v]:5555", w.Server.V6))
			w.narrow(t, path, true)
			w.server(t)
			client := w.client(t)
			w.seenAs(t, w.Server.V4.String())
			_, err := w.Alice.Try("ping", "-c", "3", "-W", "1", "-M", "dont", "-s", strconv.Itoa(1500-headers-28), w.Web.V4.String())
			require.Error(t, err, "the detector: a packet that is as long as is set by hand disappears")
			client.Interrupt()
			require.Zero(t, client.Wait(t), client.Log())

			w.set(t, "alice.toml", "mtu", 0)
			client = w.client(t)
			client.WaitLog(t, fmt.Sprintf("now=%d", path-headers))
			w.hasMTU(t, device)
			require.Empty(t, w.fragments(t))
		})
	}
}
