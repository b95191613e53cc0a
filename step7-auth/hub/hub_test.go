package hub

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
)

// Two clients at once: each has addresses of its own and gets its own packets.
func TestTwoClients(t *testing.T) {
	w := serve(t, nil)
	alice, bob := w.connect(w.add(Account{Name: "alice"})), w.connect(w.add(Account{Name: "bob"}))
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.8.0.2/16"), netip.MustParsePrefix("fd00:8::2/64")}, alice.Addrs)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.8.0.3/16"), netip.MustParsePrefix("fd00:8::3/64")}, bob.Addrs)
	require.Equal(t, "settings", string(alice.Settings))

	for _, m := range []*machine{alice, bob} {
		for _, p := range [][]byte{ip(m.v4(), web, "up"), ip(m.v6(), web6, "up")} {
			write(t, m, p)
			require.Equal(t, p, w.read())
		}
		for _, p := range [][]byte{ip(web, m.v4(), "down"), ip(web6, m.v6(), "down")} {
			write(t, w.device, p)
			require.Equal(t, p, m.receive(t))
		}
	}
	// A burst for both, and for nobody.
	write(t, w.device, ip(web, alice.v4(), "1"), ip(web, bob.v4(), "2"), ip(web, netip.MustParseAddr("10.8.0.9"), "3"), ip(web, alice.v4(), "4"))
	require.Equal(t, ip(web, alice.v4(), "1"), alice.receive(t))
	require.Equal(t, ip(web, alice.v4(), "4"), alice.receive(t))
	require.Equal(t, ip(web, bob.v4(), "2"), bob.receive(t))
	w.dropped(link.NoClient, 1)
	require.Equal(t, "no-client 1", w.count.Drops.String())
}
