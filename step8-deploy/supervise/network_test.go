package supervise

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"stepvpn/shared/netlab"
	"stepvpn/step8-deploy/watch"
)

const limit = 20 * time.Second

func TestMain(m *testing.M) { netlab.Main(m) }

// These are changes of the network, and events that are none.
func TestWatchNetwork(t *testing.T) {
	defer goleak.VerifyNone(t)
	lab := netlab.New(t)
	alice := func(command string) { t.Helper(); lab.Alice.Run(t, "ip", strings.Fields(command)...) }
	var seen atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go lab.Alice.Do(func() { done <- WatchNetwork(ctx, "vpn0", func() { seen.Add(1) }) })
	defer func() { stop(); require.NoError(t, <-done) }()

	// Before it watches, it may miss a change.
	netlab.Eventually(t, limit, "it watches", func() bool {
		alice("link set lo mtu 60000")
		alice("link set lo mtu 65536")
		time.Sleep(2 * watch.Quiet)
		return seen.Load() > 0
	})
	settled := func() int64 {
		n := seen.Load()
		netlab.Eventually(t, limit, "the network is quiet", func() bool {
			before := n
			time.Sleep(3 * watch.Quiet)
			n = seen.Load()
			return n == before
		})
		return n
	}
	for _, change := range []string{
		"link add wifi0 type veth peer name other0", "link set wifi0 up", "addr add 10.1.2.3/24 dev wifi0",
		"addr del 198.51.100.10/24 dev eth0", "addr add 198.51.100.12/24 dev eth0", "route add default via 198.51.100.1",
		"-6 addr add 2001:db8:cafe::77/64 dev eth0", "-6 route del default", "link set eth0 down", "link del wifi0",
	} {
		before := settled()
		alice(change)
		netlab.Eventually(t, limit, "it has seen: ip "+change, func() bool { return seen.Load() > before })
	}

	// The tunnel itself and tables other than the main one do not count. To see that, another
	// change that counts is made after them: it alone is reported.
	before := settled()
	alice("tuntap add vpn0 mode tun")
	alice("addr add 10.8.0.2/24 dev vpn0")
	alice("link set vpn0 up")
	alice("route add 10.99.0.0/16 dev vpn0")
	alice("route add default dev vpn0 table 22505")
	alice("rule add priority 22505 not fwmark 22505 lookup 22505")
	alice("link del vpn0")
	time.Sleep(2 * watch.Quiet) // otherwise, they would be reported together with the next one
	require.Equal(t, before, seen.Load())
	alice("link set lo mtu 60000")
	netlab.Eventually(t, limit, "it still watches", func() bool { return seen.Load() == before+1 })
}

func TestRouteTo(t *testing.T) {
	lab := netlab.New(t)
	way := func() (w string, err error) {
		lab.Alice.Do(func() { w, err = RouteTo(lab.Server.V4, 0) })
		return w, err
	}
	w, err := way()
	require.NoError(t, err)
	require.Equal(t, "198.51.100.10 of eth0", w)
	lab.Alice.Run(t, "ip", "addr", "add", "198.51.100.12/24", "dev", "eth0")
	same, err := way()
	require.NoError(t, err)
	require.Equal(t, w, same)
	lab.Alice.Run(t, "ip", "route", "replace", "default", "via", "198.51.100.1", "src", "198.51.100.12")
	w, err = way()
	require.NoError(t, err)
	require.Equal(t, "198.51.100.12 of eth0", w)
	lab.Alice.Run(t, "ip", "route", "del", "default")
	_, err = way()
	require.ErrorContains(t, err, "network is unreachable")
}

// Names are looked up at the given nameserver, whatever /etc/resolv.conf says, and at the next
// one if it does not answer.
func TestResolver(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	dead := silent.LocalAddr().(*net.UDPAddr).AddrPort()
	answering := nameserver(t)

	var dialed atomic.Int64
	r := &Resolver{Nameservers: []netip.AddrPort{answering}, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		dialed.Add(1)
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	addrs, err := r.Lookup(t.Context(), "vpn.example.org")
	require.NoError(t, err)
	require.ElementsMatch(t, []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")}, addrs)
	require.Positive(t, dialed.Load())

	_, err = r.Lookup(t.Context(), "none.example.org")
	require.EqualError(t, err, "127.0.0.1 says that there is no such name")

	r.Nameservers = []netip.AddrPort{dead, answering}
	addrs, err = r.Lookup(t.Context(), "vpn.example.org")
	require.NoError(t, err)
	require.Len(t, addrs, 2)

	r.Nameservers = nil
	_, err = r.Lookup(t.Context(), "vpn.example.org")
	require.EqualError(t, err, "no nameserver is known")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.Nameservers = []netip.AddrPort{dead}
	_, err = r.Lookup(ctx, "vpn.example.org")
	require.Error(t, err)
}
