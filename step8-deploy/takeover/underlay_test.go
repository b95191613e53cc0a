package takeover

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// A name that has other addresses each time does not take the place of a server that is in use.
func TestDestinationsInUseStay(t *testing.T) {
	h := new(Host)
	used := netip.MustParseAddrPort("203.0.113.10:51820")
	h.underlay.add(destination{"udp", used})
	for i := range 2 * maxDestinations {
		at := netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:51820", i))
		h.underlay.add(destination{"udp", at})
		h.Disuse("udp", at)
	}
	require.Len(t, h.underlay, maxDestinations)
	require.Contains(t, h.underlay, destination{"udp", used})
	h.Disuse("udp", used) // and one that is not in use any more goes first
	h.underlay.add(destination{"udp", netip.MustParseAddrPort("192.0.2.250:51820")})
	require.NotContains(t, h.underlay, destination{"udp", used})
}
