package uplink

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Routes to clients that somebody removes or changes are put back, and Paths removes all of
// them in the end.
func TestPaths(t *testing.T) {
	h := enable(t)
	paths := &Paths{Device: "vpn0", MTU: 1400}
	h.k.config.Paths = paths
	routes := func() string { return h.Server.Run(t, "ip", "-4", "route") + h.Server.Run(t, "ip", "-6", "route") }
	before := routes()
	clients := []netip.Addr{netip.MustParseAddr("10.8.0.2"), netip.MustParseAddr("10.8.0.3"), netip.MustParseAddr("fd00:8::2")}
	h.Server.Do(func() {
		for i, c := range clients {
			require.NoError(t, paths.Set(c, 1300+i))
		}
	})
	want := routes()
	require.Contains(t, want, "10.8.0.3 dev vpn0 proto 87 scope link mtu 1301")
	require.Contains(t, want, "fd00:8::2 dev vpn0 proto 87")

	for _, harm := range []string{
		"ip route del 10.8.0.2",
		"ip -6 route del fd00:8::2",
		"ip route replace 10.8.0.3 dev vpn0 proto 87 scope link mtu 900",
		"ip link set vpn0 down",
	} {
		h.run(harm)
		require.NotEqual(t, want, routes(), harm)
		require.Empty(t, h.problems(time.Hour), harm)
		require.Equal(t, want, routes(), harm)
	}

	h.Server.Do(func() {
		require.NoError(t, paths.Set(clients[0], 1400), "as much room as the device")
		for _, c := range clients[1:] {
			require.NoError(t, paths.Remove(c))
			require.NoError(t, paths.Remove(c), "it has none")
		}
	})
	require.Equal(t, before, routes())
	require.Empty(t, h.problems(time.Hour))
	require.Equal(t, before, routes(), "none comes back")
}
