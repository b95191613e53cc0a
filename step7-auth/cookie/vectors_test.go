package cookie

import (
	"testing"

	"stepvpn/step4-crypto/secure"

	"github.com/stretchr/testify/require"
)

// Made by wireguard-go (device.CookieGenerator and device.CookieChecker, version
// ecfc5a8d5446) for the public key of serverKey. WireGuard's indices are little
// endian and ours are big endian. Neither is part of what the cookie's key and
// its codes depend on, but for the bytes as such.
const (
	wireguardBefore = "010000001c232a31383f464d545b626970777e858c939aa1a8afb6bdc4cbd2d9e0e7eef5fc030a11181f262d343b424950575e656c737a81888f969da4abb2b9c0c7ced5dce3eaf1f8ff060d141b222930373e454c535a61686f767d848b9299a0a7aeb5bcc3cad173fd28a8a095cfea0d9008207f8d29f200000000000000000000000000000000"
	wireguardNonce  = "ba8e6e520c56d49c3a325328671a39abb927a2934ebe775a"
	wireguardSealed = "177d119c3b504b7e8e0d1e045c479d8db7af68096ec2e09bd0521e5d4aeee6ca"
	wireguardAfter  = "010000001c232a31383f464d545b626970777e858c939aa1a8afb6bdc4cbd2d9e0e7eef5fc030a11181f262d343b424950575e656c737a81888f969da4abb2b9c0c7ced5dce3eaf1f8ff060d141b222930373e454c535a61686f767d848b9299a0a7aeb5bcc3cad173fd28a8a095cfea0d9008207f8d29f2d6cd0f1470cf3fa767b17cd56f2570c4"
)

func TestClientSendsWhatWireGuardSends(t *testing.T) {
	c, drops := newClient()
	before, after := unhex(t, wireguardBefore), unhex(t, wireguardAfter)
	initiation := before[:len(before)-Overhead]
	require.Equal(t, [][]byte{before}, sent(t, c, initiation))

	reply := append([]byte{typeReply, 0, 0, 0}, initiation[4:8]...)
	reply = append(reply, unhex(t, wireguardNonce+wireguardSealed)...)
	require.Equal(t, [][]byte{other}, received(t, c, [][]byte{reply}, [][]byte{other}))
	require.Equal(t, [][]byte{after}, sent(t, c, initiation))
	require.Equal(t, "none", drops.String())
}

func TestServerAcceptsTheMACOfWireGuard(t *testing.T) {
	s, drops := newServer()
	before := unhex(t, wireguardBefore)
	initiation, reply := s.Check(before, alice, false, false, now())
	require.Equal(t, before[:len(before)-Overhead], initiation)
	require.Nil(t, reply)
	require.Equal(t, "none", drops.String())

	// A code depends on each byte that it covers; and each of its own bytes is compared.
	for i := range len(before) - macLen {
		before[i] ^= 1
		initiation, reply = s.Check(before, alice, false, false, now())
		require.Nil(t, initiation)
		require.Nil(t, reply)
		before[i] ^= 1
	}
	require.EqualValues(t, len(before)-macLen-4, drops.Count(BadMAC))
	require.EqualValues(t, 4, drops.Count(secure.BadMessage))
}
