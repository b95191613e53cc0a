package keeper

import (
	"math"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/pathmtu"
	"stepvpn/step8-deploy/uplink"
)

// A client whose path carries less than the device gets a route with that size, until its path
// carries more, or until it has gone. Other clients have no such route.
func TestBound(t *testing.T) {
	lab := netlab.New(t)
	ip := func(args ...string) string { return lab.Server.Run(t, "ip", args...) }
	ip("tuntap", "add", "vpn0", "mode", "tun")
	ip("link", "set", "vpn0", "mtu", "1420", "up")
	ip("addr", "add", "10.8.0.1/24", "dev", "vpn0")
	ip("addr", "add", "fd00:8::1/64", "dev", "vpn0", "nodad")
	k := &Server{
		cfg:   &config.Server{Subnets: []netip.Prefix{netip.MustParsePrefix("10.8.0.1/24"), netip.MustParsePrefix("fd00:8::1/64")}},
		paths: &uplink.Paths{Device: "vpn0", MTU: 1420},
	}
	four, six := netip.MustParseAddr("10.8.0.2"), netip.MustParseAddr("fd00:8::2")
	bound := func(list ...pathmtu.Bound) (err error) {
		lab.Server.Do(func() { _, err = k.bound(with(list)) })
		return err
	}
	routes := func() string { return ip("-4", "route") + ip("-6", "route") }
	before := routes()
	both := func(size int) {
		t.Helper()
		require.NoError(t, bound(pathmtu.Bound{Client: four, Size: size}, pathmtu.Bound{Client: six, Size: size}))
	}
	for range 2 { // a second report changes nothing
		both(1340)
		require.Regexp(t, `10.8.0.2 dev vpn0 .*mtu 1340`, routes())
		require.Regexp(t, `fd00:8::2 dev vpn0 .*mtu 1340`, routes())
	}
	both(1)
	require.Regexp(t, `10.8.0.2 dev vpn0 .*mtu 576`, routes())
	require.Regexp(t, `fd00:8::2 dev vpn0 .*mtu 1280`, routes())
	for range 2 {
		both(1420)
		require.Equal(t, before, routes())
	}
	both(1340)
	both(math.MaxInt32) // of a client that has left
	require.Equal(t, before, routes())

	for _, a := range []string{"10.8.0.1", "fd00:8::1", "10.9.0.2", "203.0.113.80", "2001:db8:5::80", "::ffff:10.8.0.2", "0.0.0.0", ""} {
		var who netip.Addr
		if a != "" {
			who = netip.MustParseAddr(a)
		}
		require.Error(t, bound(pathmtu.Bound{Client: who, Size: 1340}), "%q", a)
		require.Equal(t, before, routes())
	}
	require.Error(t, bound(slices.Repeat([]pathmtu.Bound{{Client: four, Size: 1340}}, maxBounds+1)...))
	require.Equal(t, before, routes())
}
