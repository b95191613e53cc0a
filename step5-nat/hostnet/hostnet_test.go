package hostnet

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }

func prefixes(list ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range list {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

func TestFamilies(t *testing.T) {
	addrs := prefixes("10.8.0.1/24", "fd00:8::1/64", "10.9.1.1/16")
	require.Equal(t, prefixes("10.8.0.0/24", "10.9.0.0/16"), V4.Subnets(addrs))
	require.Equal(t, prefixes("fd00:8::/64"), V6.Subnets(addrs))
	require.Equal(t, "IPv4 IPv6", V4.String()+" "+V6.String())
	require.False(t, V4.Off())
}

// DefaultRoutes follows the host's routes as they change.
func TestDefaultRoutes(t *testing.T) {
	lab := netlab.New(t)
	alice := func(command string) { lab.Alice.Run(t, "ip", strings.Fields(command)...) }
	egress := func(f Family, except string) string {
		t.Helper()
		var names []string
		var err error
		lab.Alice.Do(func() { names, err = DefaultRoutes(f, except) })
		require.NoError(t, err)
		return strings.Join(names, "+")
	}
	both := func() string { t.Helper(); return egress(V4, "") + " " + egress(V6, "") }
	alice("link add wifi type veth peer name other")
	alice("link set wifi up")
	alice("link set other up")
	require.Equal(t, "eth0 eth0", both())

	// The lower metric comes first. (Without one, IPv4 has 0 and IPv6 has 1024.)
	alice("-4 route add default dev wifi metric 50")
	alice("-6 route add default dev wifi metric 50")
	require.Equal(t, "eth0+wifi wifi+eth0", both())
	require.Equal(t, "eth0", egress(V6, "wifi"))
	alice("-4 route del default dev eth0")
	require.Equal(t, "wifi wifi+eth0", both())

	// A host may also be told that there is no way.
	alice("-4 route add unreachable default metric 1")
	require.Equal(t, "wifi", egress(V4, ""))

	// Other tables, and routes that are not for everybody, do not count.
	alice("-4 route flush default")
	alice("-6 route flush default")
	alice("-4 route add default dev wifi table 7")
	alice("-4 route add 0.0.0.0/1 dev wifi")
	require.Equal(t, " ", both())

	// Each path of a multipath route counts, once.
	alice("-6 addr add fd77::1/64 dev wifi nodad")
	alice("-4 route add default nexthop dev eth0 via 198.51.100.1 nexthop dev wifi")
	alice("-6 route add default nexthop dev eth0 via 2001:db8:cafe::1 nexthop dev wifi via fd77::2")
	alice("-4 route add default dev wifi metric 7")
	require.Equal(t, "eth0+wifi eth0+wifi", both())
}

func TestFree(t *testing.T) {
	lab := netlab.New(t)
	lab.Alice.Run(t, "ip", "addr", "add", "10.0.0.1/8", "dev", "eth0")
	free := func(addrs ...string) (err error) {
		lab.Alice.Do(func() { err = Free(prefixes(addrs...), "eth9") })
		return err
	}
	require.NoError(t, free("172.16.0.1/24", "fd00:8::1/64"))
	require.ErrorContains(t, free("10.8.0.1/24"), "10.8.0.0/24 overlaps 10.0.0.1/8 of eth0")
	require.ErrorContains(t, free("0.0.0.1/0"), "0.0.0.0/0 overlaps")
	require.ErrorContains(t, free("2001:db8:cafe::5/128"), "of eth0")
	require.ErrorContains(t, free("172.16.0.1/24", "172.16.0.128/25"), "172.16.0.1/24 and 172.16.0.128/25 overlap")
	require.NoError(t, free("fe80::1/64"), "link-local networks are everywhere")
	lab.Alice.Do(func() { require.NoError(t, Free(prefixes("10.8.0.1/24"), "eth0"), "the tunnel's own device") })
}
