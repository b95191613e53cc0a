package reconcile

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step2-tun/tun"
)

// Whatever others do to a device, it becomes as it should be again. It keeps what they have
// added.
func TestDevice(t *testing.T) {
	lab := netlab.New(t)
	d := Device{Name: "vpn0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.8.0.1/24"), netip.MustParsePrefix("fd00:8::1/64")}, MTU: 1400}
	mend := func() (mended []string, err error) {
		lab.Alice.Do(func() { mended, err = d.Mend() })
		return mended, err
	}
	_, err := mend()
	require.ErrorIs(t, err, ErrNoDevice)
	require.EqualError(t, err, "device vpn0: the device is gone")

	lab.Alice.Do(func() {
		dev, err := tun.Open(tun.Config{Name: d.Name, Addrs: d.Addrs, MTU: d.MTU})
		require.NoError(t, err)
		t.Cleanup(func() { dev.Close() })
	})
	look := func() string {
		return lab.Alice.Run(t, "bash", "-c", "ip -o link show vpn0 | sed 's/.*<\\(.*\\)> \\(mtu [0-9]*\\).*/\\1 \\2/'; ip -br addr show vpn0; ip route show dev vpn0; ip -6 route show dev vpn0")
	}
	want := look()
	require.Contains(t, want, "fd00:8::1/64")
	none, err := mend()
	require.NoError(t, err)
	require.Empty(t, none)
	const v4, v6 = "its address 10.8.0.1/24 was missing", "its address fd00:8::1/64 was missing"
	for _, c := range []struct {
		do   string
		says []string
	}{
		{"ip link set vpn0 down", []string{"it was down", v6}},
		{"ip link set vpn0 down; ip link set vpn0 up", []string{v6}},
		{"ip addr flush dev vpn0", []string{v4, v6}},
		{"ip addr del 10.8.0.1/24 dev vpn0; ip addr add 10.8.0.1/32 dev vpn0", []string{v4}},
		{"ip link set vpn0 mtu 1300", []string{"its MTU was 1300"}},
		{"ip link set vpn0 mtu 1000; ip addr flush dev vpn0; ip link set vpn0 down", []string{"its MTU was 1000", "it was down", v4, v6}},
		{"sysctl net.ipv6.conf.vpn0.disable_ipv6=1; sysctl net.ipv6.conf.vpn0.disable_ipv6=0", []string{v6}},
	} {
		lab.Alice.Run(t, "bash", "-c", c.do)
		require.NotEqual(t, want, look(), c.do)
		mended, err := mend()
		require.NoError(t, err, c.do)
		require.Equal(t, c.says, mended, c.do)
		lab.Alice.Try("ip", "addr", "del", "10.8.0.1/32", "dev", "vpn0")
		require.Equal(t, want, look(), c.do)
		require.NotContains(t, lab.Alice.Run(t, "ip", "addr", "show", "dev", "vpn0"), "tentative")
	}

	// An operator who switches IPv6 off has a reason. Everything else is put right.
	lab.Alice.Write(t, "ipv6/conf/vpn0/disable_ipv6", "1")
	lab.Alice.Run(t, "ip", "addr", "flush", "dev", "vpn0")
	mended, err := mend()
	require.Equal(t, []string{v4}, mended)
	require.EqualError(t, err, "device vpn0: its address fd00:8::1/64 was missing, and that can't be changed: IPv6 is switched off on it")
	lab.Alice.Write(t, "ipv6/conf/vpn0/disable_ipv6", "0")
	mended, err = mend()
	require.NoError(t, err)
	require.Equal(t, []string{v6}, mended)
	require.Equal(t, want, look())

	lab.Alice.Run(t, "ip", "addr", "add", "192.0.2.1/32", "dev", "vpn0")
	mended, err = mend()
	require.NoError(t, err)
	require.Empty(t, mended)
	require.True(t, strings.Contains(look(), "192.0.2.1"))
}
