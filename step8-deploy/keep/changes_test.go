package keep

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
	"stepvpn/step2-tun/tun"
	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/guard"
)

// carriedOut carries out the routes and rules of a tunnel on the host.
func carriedOut(t *testing.T, h *netlab.Host, c *Changes) (list []policy.Change, undo func() error, dev *tun.Device) {
	t.Helper()
	h.Do(func() {
		var err error
		dev, err = tun.Open(tun.Config{Name: "vpn0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.8.0.2/24"), netip.MustParsePrefix("fd00:8::2/64")}})
		require.NoError(t, err)
		t.Cleanup(func() { dev.Close() })
		list, err = guard.Changes("vpn0", []netip.Addr{netip.MustParseAddr("10.8.0.1"), netip.MustParseAddr("fd00:8::1")})
		require.NoError(t, err)
		list = list[1:] // the first is a table
		for _, f := range hostnet.Families {
			list = append(list, policy.AddRoute(policy.Everything(f), "vpn0", route.Table),
				route.Local(f, route.PriorityLocal).Add(), route.Tunnel(f, f == hostnet.V4).Add())
		}
		undo, err = c.CarryOut(list)
		require.NoError(t, err)
	})
	return list, undo, dev
}

// state lists rules and routes, in any order: of one priority each is as good.
func state(t *testing.T, h *netlab.Host) string {
	t.Helper()
	return h.Run(t, "bash", "-c", "for f in -4 -6; do ip $f rule; ip $f route show table 22505 2>/dev/null; done | sort")
}

// What is there already is there once, and what others remove comes back.
func TestChanges(t *testing.T) {
	lab := netlab.New(t)
	before := state(t, lab.Alice)
	var c Changes
	list, undo, _ := carriedOut(t, lab.Alice, &c)
	while := state(t, lab.Alice)
	mend := func() (mended []string) {
		t.Helper()
		var err error
		lab.Alice.Do(func() { mended, err = c.Mend() })
		require.NoError(t, err)
		require.Equal(t, while, state(t, lab.Alice))
		return mended
	}
	require.Empty(t, mend())

	// One after the other, as others may remove them; then all at once.
	var all []string
	for _, ch := range list {
		lab.Alice.Do(func() { require.ErrorIs(t, ch.Do(), unix.EEXIST, ch.Command) })
		lab.Alice.Run(t, "bash", "-c", strings.Replace(ch.Command, " add ", " del ", 1))
		require.Equal(t, []string{ch.Command}, mend())
		all = append(all, ch.Command)
	}
	for _, f := range []string{"-4", "-6"} {
		lab.Alice.Run(t, "ip", f, "rule", "flush")
		lab.Alice.Run(t, "ip", f, "rule", "add", "priority", "32766", "lookup", "main")
		lab.Alice.Run(t, "ip", f, "route", "flush", "table", "22505")
	}
	lab.Alice.Run(t, "ip", "rule", "add", "priority", "32767", "lookup", "default")
	require.Equal(t, all, mend())

	lab.Alice.Do(func() {
		require.NoError(t, undo())
		mended, err := c.Mend()
		require.NoError(t, err)
		require.Empty(t, mended, "there is nothing to mend any more")
	})
	require.Equal(t, before, state(t, lab.Alice))
}

// One that can't be mended does not keep the others from it.
func TestMendWhatCanBe(t *testing.T) {
	lab := netlab.New(t)
	var c Changes
	_, _, dev := carriedOut(t, lab.Alice, &c)
	require.NoError(t, dev.Close())
	lab.Alice.Run(t, "ip", "-4", "rule", "del", "priority", "22505")
	lab.Alice.Do(func() {
		mended, err := c.Mend()
		require.Equal(t, []string{"ip -4 rule add priority 22505 not fwmark 22505 lookup 22505"}, mended)
		require.EqualError(t, err, "ip -4 route add default dev vpn0 table 22505: no such device\nip -6 route add default dev vpn0 table 22505: no such device")
	})
}

// The rule of a socket of the tunnel's own is one of them.
func TestSocket(t *testing.T) {
	lab := netlab.New(t)
	var c Changes
	own := guard.Socket{CarryOut: c.CarryOut}
	before := state(t, lab.Alice)
	lab.Alice.Do(func() {
		d := net.Dialer{Control: own.Control}
		for range 2 { // the second in the place of the first
			conn, err := d.Dial("udp", "203.0.113.10:53")
			require.NoError(t, err)
			defer conn.Close()
		}
		while := state(t, lab.Alice)
		require.Equal(t, 1, strings.Count(while, "22499:"))
		lab.Alice.Run(t, "ip", "rule", "del", "priority", "22499")
		mended, err := c.Mend()
		require.NoError(t, err)
		require.Len(t, mended, 1)
		require.Equal(t, while, state(t, lab.Alice))
		require.NoError(t, own.Close())
		mended, err = c.Mend()
		require.NoError(t, err)
		require.Empty(t, mended)
	})
	require.Equal(t, before, state(t, lab.Alice))
}
