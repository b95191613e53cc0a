package main

import (
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step7-auth/hub"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/rotation"
)

// A keyChange is a change of the server's key, for the time in which the server has two: it
// tells clients the next key, and lets them in by either. The zero value means that there is
// none.
type keyChange struct {
	next *noise.PrivateKey
	psk  *[noise.KeyLen]byte
}

// keyChangeOf returns the change that the keeper has read from the key files.
func keyChangeOf(given *keeper.Handover) keyChange { return keyChange{given.NextKey, given.PSK} }

// tell adds the next key to the settings for clients that use the old one.
func (k keyChange) tell(settings []byte) []byte {
	if k.next == nil {
		return settings
	}
	return rotation.Append(settings, k.next.Public())
}

// entrance returns what clients that use the next key need; nil if there is none.
func (k keyChange) entrance(settings []byte, old *cookie.Server) *hub.Key {
	if k.next == nil {
		return nil
	}
	cookies := old.WithKey(k.next.Public())
	most, others := handshakesOf(*k.next, k.psk)
	return &hub.Key{Handshake: most, Other: &others, Settings: settings, Check: cookies.Check, Meant: cookies.Meant}
}

// key returns how lastseen.Seen records which key a client used.
func (k keyChange) key(next bool) (by noise.PublicKey) {
	if next && k.next != nil {
		by = k.next.Public()
	}
	return by
}

// String returns the next public key, or "" if there is none.
func (k keyChange) String() string {
	if k.next == nil {
		return ""
	}
	return noise.FormatKey(k.next.Public())
}
