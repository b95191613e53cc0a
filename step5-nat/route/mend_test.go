package route

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
	"stepvpn/step5-nat/policy"
)

// listOn lists the changes for the host, and carries them out.
func listOn(t *testing.T, h *netlab.Host, c Config) (list []policy.Change, undo func() error) {
	t.Helper()
	var err error
	h.Do(func() {
		list, err = Changes(c)
		require.NoError(t, err)
		undo, err = policy.CarryOut(list)
		require.NoError(t, err)
	})
	return list, undo
}

// What is there already is there once, and what others remove comes back.
func TestMend(t *testing.T) {
	for _, c := range []struct{ addrs, only string }{{both, ""}, {onlyIPv4, ""}, {both, "192.0.2.0/24,2001:db8:80::/64"}} {
		t.Run(c.addrs+" "+c.only, func(t *testing.T) {
			lab := netlab.New(t)
			lab.Alice.Write(t, "ipv4/conf/all/rp_filter", "1") // for all the rules that there are
			tunnelOn(t, lab.Alice, c.addrs)
			before := snapshot(t, lab.Alice)
			cfg := config(c.addrs)
			if c.only != "" {
				cfg.Only = prefixes(c.only)
			}
			list, undo := listOn(t, lab.Alice, cfg)
			while := snapshot(t, lab.Alice)

			mend := func() (mended []string) {
				var err error
				lab.Alice.Do(func() { mended, err = policy.Mend(list) })
				require.NoError(t, err)
				same(t, while, lab.Alice)
				return mended
			}
			require.Empty(t, mend())
			for _, ch := range list {
				lab.Alice.Do(func() { require.ErrorIs(t, ch.Do(), unix.EEXIST, ch.Command) })
			}
			same(t, while, lab.Alice)

			// One after the other, as others may remove them; then all at once.
			var all []string
			for _, ch := range list {
				lab.Alice.Run(t, "bash", "-c", strings.Replace(ch.Command, " add ", " del ", 1))
				require.Equal(t, []string{ch.Command}, mend())
				all = append(all, ch.Command)
			}
			for _, f := range []string{"-4", "-6"} {
				lab.Alice.Run(t, "ip", f, "rule", "flush")
				lab.Alice.Run(t, "ip", f, "rule", "add", "priority", "32766", "lookup", "main")
				lab.Alice.Try("ip", f, "route", "flush", "table", "22505") // there may be none
			}
			lab.Alice.Run(t, "ip", "rule", "add", "priority", "32767", "lookup", "default")
			require.Equal(t, all, mend())

			lab.Alice.Do(func() { require.NoError(t, undo()) })
			same(t, before, lab.Alice)
		})
	}
}

// One that can't be mended does not keep the others from it.
func TestMendWhatCanBe(t *testing.T) {
	lab := netlab.New(t)
	dev := tunnelOn(t, lab.Alice, onlyIPv4)
	list, _ := listOn(t, lab.Alice, config(onlyIPv4))
	require.NoError(t, dev.Close())
	lab.Alice.Run(t, "ip", "-4", "rule", "del", "priority", "22505")
	lab.Alice.Do(func() {
		mended, err := policy.Mend(list)
		require.Equal(t, []string{"ip -4 rule add priority 22505 not fwmark 22505 lookup 22505"}, mended)
		require.EqualError(t, err, "ip -4 route add default dev vpn0 table 22505: no such device")
	})
}

// A caller with rules of its own for what is local decides for itself what an
// overlap means.
func TestLocalByCaller(t *testing.T) {
	lab := netlab.New(t)
	lab.Alice.Run(t, "ip", "addr", "add", "10.8.0.77/24", "dev", "eth0")
	tunnelOn(t, lab.Alice, both)
	require.ErrorContains(t, refused(t, lab.Alice, config(both)), "overlaps 10.8.0.77/24 of eth0")
	before := snapshot(t, lab.Alice)
	c := config(both)
	c.LocalByCaller = true
	undo := defaultOn(t, lab.Alice, c)
	require.NotContains(t, lab.Alice.Run(t, "bash", "-c", "ip -4 rule; ip -6 rule"), "22504:")
	for _, to := range []string{"10.8.0.77", "198.51.100.10"} {
		require.Equal(t, "lo", way(lab.Alice, to))
	}
	for _, to := range []string{"10.8.0.1", "198.51.100.11", "203.0.113.80", "2001:db8:cafe::11"} {
		require.Equal(t, "vpn0", way(lab.Alice, to))
	}
	undo()
	same(t, before, lab.Alice)

	c.Addrs = []netip.Prefix{netip.MustParsePrefix("10.8.0.0/16"), netip.MustParsePrefix("10.8.0.2/24")}
	require.ErrorContains(t, refused(t, lab.Alice, c), "overlap", "its own")
}
