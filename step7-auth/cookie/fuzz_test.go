package cookie

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
)

// Whatever arrives, the server works on nothing but what it should, and sends
// nothing that is longer than what came in.
func FuzzCheck(f *testing.F) {
	c, _ := newClient()
	good := sent(f, c, newInitiation(1))[0]
	f.Add(good, true, false)
	f.Add(good[:minInitiation], true, false)
	f.Add(good[:len(good)-1], false, false)
	f.Add([]byte{}, true, true)
	f.Add([]byte{1, 0, 0, 0}, false, true)
	f.Add(make([]byte, maxInitiation+1), true, true)
	f.Fuzz(func(t *testing.T, m []byte, load, sign bool) {
		if sign && len(m) >= Overhead {
			// A fuzzer can't find a valid mac1.
			covered, code := mac1At(m)
			mac1 := mac1Of(serverKey()).sum(covered)
			copy(code, mac1[:])
		}
		s, drops := newServer()
		before := bytes.Clone(m)
		initiation, reply := s.Check(m, alice, load, false, now())
		require.Equal(t, before, m, "Check only reads")
		require.False(t, initiation != nil && reply != nil)
		if initiation != nil {
			covered, code := mac1At(m)
			require.Equal(t, covered, initiation)
			require.True(t, mac1Of(serverKey()).sum(covered).equals(code))
			require.False(t, load, "nobody got a cookie")
			require.Equal(t, "none", drops.String())
		} else {
			require.NotEqual(t, "none", drops.String())
		}
		if reply != nil {
			require.True(t, load)
			require.Less(t, len(reply), len(m))
			require.Equal(t, m[4:8], reply[4:8])
		}
	})
}

// Whatever arrives, the client takes out nothing but what looks like a reply, and
// accepts none but the right one.
func FuzzClientRead(f *testing.F) {
	c, _ := newClient()
	s, _ := newServer()
	signed := sent(f, c, newInitiation(1))[0]
	_, right := s.Check(signed, alice, true, false, now())
	f.Add(right, other)
	f.Add(right[:replyLen-1], right)
	f.Add(other, other)
	f.Add([]byte{3, 0, 0, 0}, []byte{})
	f.Fuzz(func(t *testing.T, one, two []byte) {
		if len(one)+len(two) > link.MaxPacket-len(other) {
			return // no burst is as large
		}
		c, drops := newClient()
		k := c.(*client)
		k.asked, k.index = true, index(signed)
		_, code := mac1At(signed)
		k.code = mac(code)
		var want [][]byte
		accepted := false
		for _, m := range [][]byte{one, two, other} {
			if !isType(m, typeReply) {
				want = append(want, m)
			}
			accepted = accepted || bytes.Equal(m, right)
		}
		got := received(t, c, [][]byte{one, two, other})
		require.Equal(t, len(want), len(got))
		for i := range want {
			require.True(t, bytes.Equal(want[i], got[i]))
		}
		require.Equal(t, accepted, !k.arrived.IsZero())
		if len(want) == 3 {
			require.Equal(t, "none", drops.String())
		}
	})
}
