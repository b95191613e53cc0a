package cookie

import (
	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
)

// Second reading, for a chapter after step 8: other programs put the codes into responses, too.
// A response's mac1 is made with the public key of the client that it is for. So a client that
// somebody floods with false responses does no public-key work for them.

const typeResponse = 2

// ClientBothWays is Client for a server that puts the codes into its responses. A response
// whose mac1 is not made for the client's own public key is dropped, as a BadMAC; from the
// others the codes are taken off.
func ClientBothWays(lower link.Link, server, own noise.PublicKey, drops *link.Drops) link.Link {
	c := Client(lower, server, drops).(*client)
	c.own = mac1Of(own)
	return c
}

// unsigned returns a response without its codes, or nil.
func (c *client) unsigned(m []byte) []byte {
	if len(m) < headerLen+Overhead {
		c.drops.Add(BadMAC)
		return nil
	}
	covered, code := mac1At(m)
	if !c.own.sum(covered).equals(code) {
		c.drops.Add(BadMAC)
		return nil
	}
	return covered
}

// SignResponse appends the codes to a response for the client that has this public key. The
// second one is zero: a client's cookie, which it sends when it is under load itself, is not kept.
func SignResponse(response []byte, client noise.PublicKey) []byte {
	code := mac1Of(client).sum(response)
	response = append(response, code[:]...)
	return append(response, make([]byte, macLen)...)
}
