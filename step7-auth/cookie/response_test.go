package cookie

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
)

// A client of a server that signs responses takes the codes off, and drops a response with
// other codes. Other messages pass, in their order.
func TestSignedResponses(t *testing.T) {
	drops := new(link.Drops)
	own := noise.PublicKey{7}
	c := ClientBothWays(new(wire), serverKey(), own, drops)
	response := append([]byte{typeResponse, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}, make([]byte, 48)...)
	signed := SignResponse(bytes.Clone(response), own)
	require.Len(t, signed, 92, "as long as WireGuard's")
	foreign := SignResponse(bytes.Clone(response), noise.PublicKey{8})
	short := response[:headerLen+Overhead-1]

	require.Equal(t, [][]byte{other, response, other}, received(t, c, [][]byte{foreign, other, short, signed, other}))
	require.EqualValues(t, 2, drops.Count(BadMAC))
	for i := range len(signed) - macLen {
		signed[i] ^= 1
		if isType(signed, typeResponse) {
			require.Equal(t, [][]byte{other}, received(t, c, [][]byte{signed, other}), "byte %d", i)
		}
		signed[i] ^= 1
	}

	// Without ClientBothWays, a response passes as it is.
	c, _ = newClient()
	require.Equal(t, [][]byte{signed}, received(t, c, [][]byte{signed}))
}
