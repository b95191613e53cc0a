package fast

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// An address is the same after it was converted twice, except that the name of an interface
// becomes its number.
func TestSockaddr(t *testing.T) {
	for _, s := range []string{"203.0.113.10:5555", "[2001:db8::1]:1", "[fe80::1%7]:65535"} {
		for _, v6 := range []bool{true, false} {
			want := netip.MustParseAddrPort(s)
			if !v6 && !want.Addr().Is4() {
				continue
			}
			var a sockaddr
			a.set(want, v6)
			require.Equal(t, want, a.addrPort(), "v6 %v", v6)
		}
	}
	loopback, err := net.InterfaceByName("lo")
	require.NoError(t, err)
	require.EqualValues(t, loopback.Index, zoneIndex("lo"))
	require.Zero(t, zoneIndex("nothing"))
}
