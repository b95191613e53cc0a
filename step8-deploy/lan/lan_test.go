package lan

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// A network may claim these routes and addresses, and this is what is believed.
func TestLook(t *testing.T) {
	lab := netlab.New(t)
	ip := func(command string) { t.Helper(); lab.Alice.Run(t, "ip", strings.Fields(command)...) }
	for _, command := range []string{
		"addr add 192.168.7.2/24 dev eth0", "addr add fd07::2/64 dev eth0", "addr add 169.254.7.7/16 dev eth0",
		"route add 10.0.0.0/8 dev eth0", "route add 172.0.0.0/11 dev eth0", "-6 route add fc00::/7 dev eth0", "-6 route add fd00::/8 dev eth0",
		// a DHCP server's option 121
		"route add 169.254.0.0/15 dev eth0", "-6 route add fe80::/9 dev eth0", "route add 192.168.7.128/25 via 198.51.100.66",
		"route add 0.0.0.0/1 via 198.51.100.66", "route add 128.0.0.0/1 via 198.51.100.66", "route add 203.0.113.80/32 dev eth0",
		"route add 10.20.0.0/16 via 198.51.100.66", "-6 route add 2000::/3 via 2001:db8:cafe::66",
		"route add 10.21.0.0/16 nexthop via 198.51.100.66 nexthop via 198.51.100.67", "route add 10.22.0.0/16 via inet6 fe80::66 dev eth0",
		// no network at all, and the tunnel's own
		"route add unreachable 10.30.0.0/16", "tuntap add vpn0 mode tun", "link set vpn0 up", "addr add 10.8.0.2/24 dev vpn0", "addr add 10.31.0.1/24 dev lo",
	} {
		ip(command)
	}
	look := func(p Policy) (local, claims []string) {
		t.Helper()
		lab.Alice.Do(func() {
			n, err := Look(p, "vpn0")
			require.NoError(t, err)
			for _, l := range n.Local {
				local = append(local, l.Network.String())
			}
			for _, c := range n.Claims {
				claims = append(claims, c.String())
			}
			for _, c := range n.Inside {
				claims = append(claims, "inside: "+c.String())
			}
		})
		return local, claims
	}
	local, claims := look(Private)
	require.Equal(t, []string{"10.0.0.0/8", "169.254.0.0/16", "192.168.7.0/24", "fd00::/8", "fd07::/64", "fe80::/64"}, local)
	const behind = ": it is behind a gateway, not on the link"
	require.Equal(t, []string{
		"0.0.0.0/1 via 198.51.100.66 on eth0: it is not private",
		"128.0.0.0/1 via 198.51.100.66 on eth0: it is not private",
		"169.254.0.0/15 on eth0: it is not private",
		"172.0.0.0/11 on eth0: it is not private",
		"198.51.100.0/24 on eth0: it is not private",
		"203.0.113.80/32 on eth0: it is not private",
		"2000::/3 via 2001:db8:cafe::66 on eth0: it is not private",
		"2001:db8:cafe::/64 on eth0: it is not private",
		"fc00::/7 on eth0: it is wider than /8",
		"fe80::/9 on eth0: it is not private",
		"inside: 10.20.0.0/16 via 198.51.100.66 on eth0" + behind,
		"inside: 10.21.0.0/16 via 198.51.100.67 on eth0" + behind,
		"inside: 10.22.0.0/16 via fe80::66 on eth0" + behind,
		"inside: 192.168.7.128/25 via 198.51.100.66 on eth0" + behind,
	}, claims)
	local, claims = look(None)
	require.Empty(t, local)
	require.Empty(t, claims)
	local, claims = look(AsRouted)
	require.Contains(t, local, "0.0.0.0/1")
	require.NotContains(t, strings.Join(local, " "), "10.8.0.0/24")
	require.Empty(t, claims)
}

// A network can't make this host add any number of rules.
func TestManyNetworks(t *testing.T) {
	lab := netlab.New(t)
	lab.Alice.Run(t, "bash", "-c", "for i in $(seq 200); do echo route add 10.0.$i.0/24 dev eth0; echo route add 11.0.$i.0/24 dev eth0; done | ip -batch -")
	lab.Alice.Do(func() {
		n, err := Look(Private, "vpn0")
		require.NoError(t, err)
		require.Len(t, n.Local, maxLocal)
		require.Len(t, n.Claims, maxLocal)
		require.Empty(t, n.Inside)
	})

	// Nor can a network split the local networks into any number of pieces.
	lab.Alice.Run(t, "bash", "-c", "for i in $(seq 16); do echo route add 10.0.1.$i/32 via 198.51.100.1; done | ip -batch -")
	look := func() (n Networks) {
		lab.Alice.Do(func() {
			var err error
			n, err = Look(Private, "vpn0")
			require.NoError(t, err)
		})
		return n
	}
	isLocal := func(n Networks) bool {
		return slices.ContainsFunc(n.Local, func(l Claim) bool { return l.Network == netip.MustParsePrefix("10.0.1.0/24") })
	}
	n := look()
	require.True(t, isLocal(n))
	require.Len(t, n.Inside, 16)
	lab.Alice.Run(t, "ip", "route", "add", "10.0.1.17/32", "via", "198.51.100.1")
	n = look()
	require.False(t, isLocal(n))
	require.Empty(t, n.Inside)
}

func TestElements(t *testing.T) {
	for want, list := range map[string][]netip.Prefix{
		"": nil, "10.0.0.0/8": prefixes("10.1.2.3/24", "10.0.0.0/8", "10.0.0.0/8"), "10.0.0.0/24, 10.0.1.0/24": prefixes("10.0.0.0/24", "10.0.1.0/24"),
	} {
		require.Equal(t, want, Elements(list))
	}
}
