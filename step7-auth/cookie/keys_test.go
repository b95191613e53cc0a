package cookie

import (
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
)

// Of two keys each initiation is for one, and its client can read the cookie reply that is
// made by that one; what one source may ask for does not double.
func TestTwoKeys(t *testing.T) {
	first, drops := newServer()
	key := serverKey()
	key[31] ^= 1
	next := first.WithKey(key)
	servers := []*Server{first, next}
	for i, k := range []talk{
		{t, Client(new(wire), serverKey(), new(link.Drops)), first, drops, nil},
		{t, Client(new(wire), key, new(link.Drops)), next, drops, nil},
	} {
		m := k.signed()
		require.True(t, servers[i].Meant(m))
		require.False(t, servers[1-i].Meant(m))
		require.False(t, servers[i].Meant(m[:len(m)-Overhead]), "without codes")
		require.False(t, servers[i].Meant(nil))
		require.Equal(t, "none", drops.String(), "nothing is counted")
		m[20] ^= 1
		require.False(t, servers[i].Meant(m), "forged")

		_, reply := k.server.Check(k.signed(), alice, true, false, now())
		k.get(reply)
		through := 0
		for range 2 * perEndpoint {
			if initiation, _ := k.server.Check(k.signed(), alice, true, false, now()); initiation != nil {
				through++
			}
		}
		require.Equal(t, []int{perEndpoint, 0}[i], through, "alice has used up her share")
		*drops = link.Drops{}
	}
}
