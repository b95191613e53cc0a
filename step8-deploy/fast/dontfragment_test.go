package fast

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/shared/netlab"
)

// A packet that must not be fragmented arrives whole or not at all, whether it is too long for
// a router or for this host. It does not disturb later packets.
func TestDontFragment(t *testing.T) {
	lab := netlab.New(t)
	lab.Cafe.Run(t, "ip", "link", "set", "up0", "mtu", "1400")
	lab.Internet.Run(t, "ip", "link", "set", "cafe0", "mtu", "1400")
	for _, addr := range []netip.Addr{lab.Server.V4, lab.Server.V6} {
		t.Run(addr.String(), func(t *testing.T) {
			var server, client *UDP
			var at netip.AddrPort
			lab.Server.Do(func() { server, at = listen(t, ":0", UDPOptions{}) })
			lab.Alice.Do(func() { client, _ = dial(t, netip.AddrPortFrom(addr, at.Port()), UDPOptions{}) })
			in, longest := link.NewBurst(), 1400-ipv4Len-udpLen
			if addr.Is6() {
				longest = 1400 - ipv6Len - udpLen
			}
			send := func(size int, dont bool) {
				t.Helper()
				out := burstOf(make([]byte, size))
				out.Hints.DontFragment = dont
				require.NoError(t, client.WriteBurst(out))
			}
			arrives := func(size int) {
				t.Helper()
				require.NoError(t, server.ReadBurst(in))
				require.Equal(t, 1, in.Len())
				require.Len(t, in.At(0), size)
			}
			send(longest, true)
			arrives(longest)
			for _, size := range []int{longest + 1, 1452, 1473, 9000, 60000} {
				send(size, true)
				send(100, false)
				arrives(100) // and no earlier packet
			}
			send(longest, true) // what a router says does not matter
			arrives(longest)
			if addr.Is4() {
				send(1472, false) // in pieces
				arrives(1472)
			}
			require.Equal(t, "none", client.o.Drops.String())
		})
	}
}
