// Package rotation is a change of the server's key as its clients see it: they are told the
// next key by a server that has proved to have the present one, and remember it. Introduced
// in step 8.
//
// It is told in the session's settings, as an item of the encoding of package push, which
// others skip:
//
//	type 4  next key  32 bytes, the public key that the server will have
//
// What a client remembers is in a file of its state (stored.go), and never more than a hint:
// it counts only while the settings name the key that it was told under, and a server that
// can't be reached by it is tried by the key of the settings again.
package rotation

import (
	"errors"
	"slices"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step6-dns/push"
)

const typeNextKey = 4

// Append adds the next key to encoded settings.
func Append(settings []byte, next noise.PublicKey) []byte {
	return push.Item{Type: typeNextKey, Value: next[:]}.Append(settings)
}

// Parse returns the next key in encoded settings, zero for none.
func Parse(settings []byte) (next noise.PublicKey, err error) {
	items, err := push.Items(settings)
	if err != nil {
		return next, err
	}
	for _, i := range items {
		if i.Type != typeNextKey {
			continue
		}
		if len(i.Value) != noise.KeyLen || next != (noise.PublicKey{}) || noise.PublicKey(i.Value) == (noise.PublicKey{}) {
			return noise.PublicKey{}, errors.New("settings: the server's next key is no key, or there are two")
		}
		next = noise.PublicKey(i.Value)
	}
	return next, nil
}

// After returns the keys to remember, the newest first, once a server has been reached by
// one of its keys, and has told the next one; zero is none. settings is the key that the
// client's settings name, and known are those that it remembers so far. Nobody is believed who
// was not reached by one of them.
func After(settings noise.PublicKey, known []noise.PublicKey, by, next noise.PublicKey) (keys []noise.PublicKey, err error) {
	if by != settings && !slices.Contains(known, by) {
		return nil, errors.New("that is a key by which nobody was to be reached")
	}
	if next == by {
		return nil, errors.New("the next key is the present one")
	}
	if next != (noise.PublicKey{}) {
		keys = append(keys, next)
	}
	if by != settings {
		keys = append(keys, by) // the settings' own may be a few changes old
	}
	return keys, nil
}
