package main

import (
	"log/slog"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step7-auth/hub"
	"stepvpn/step8-deploy/config"
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

// nextEntrance is the name of the entrance for clients that use the next key.
const nextEntrance = "next"

// entrance returns what clients that use the next key need; none if there is no such key.
func (k keyChange) entrance(settings []byte, old *cookie.Server) []hub.Entrance {
	if k.next == nil {
		return nil
	}
	cookies := old.WithKey(k.next.Public())
	most, others := handshakesOf(*k.next, k.psk)
	return []hub.Entrance{{Name: nextEntrance, Handshake: most, Other: &others, Settings: settings, Check: cookies.Check, Meant: cookies.Meant}}
}

// key returns how lastseen.Seen records by which entrance a client came. Who came by a third
// one does not need the old key either.
func (k keyChange) key(entrance string) (by noise.PublicKey) {
	if entrance != "" && k.next != nil {
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

// changeKey returns the change to a key.
func changeKey(next noise.PrivateKey) keyChange { return keyChange{next: &next} }

// changeOf returns the change of a server's key, as its files say.
func changeOf(s *config.Server) keyChange {
	next, err := s.NextKey()
	if err != nil {
		slog.Warn("the server's next key can't be read", "error", err)
	}
	return keyChange{next: (*noise.PrivateKey)(next)}
}

// isNext tells whether a client that is noted to have come by a key came by the next one.
func (k keyChange) isNext(by noise.PublicKey) bool { return k.next != nil && by == k.next.Public() }

// by says by which key a client came, as long as there are two.
func (k keyChange) by(next bool) string { return byKey(k.next != nil, next) }

func byKey(changing, next bool) string {
	switch {
	case !changing:
		return ""
	case next:
		return ", by the next key"
	}
	return ", by the old key"
}
