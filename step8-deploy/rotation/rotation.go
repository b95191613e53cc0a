// Package rotation is how a server announces its next key to clients (Append), and how a
// client reads and remembers it (Parse, After, stored.go). The server has proved to have the
// current key. Introduced in step 8.
//
// The server announces it in the session's settings, as an item in the encoding of package
// push, which older clients skip:
//
//	type 4  next key  32 bytes, the public key that the server will have
//
// A client remembers the key in a file of its state (stored.go), and only as a hint. The key
// is used only while the client's settings name the same key as when it was announced; and if
// the server can't be reached by it, the client tries the key in the settings again.
package rotation

import (
	"errors"
	"slices"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step6-dns/push"
)

const typeNextKey = 4

// Append appends the next key to encoded settings.
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
			return noise.PublicKey{}, errors.New("settings: the server's next key is not a valid key, or there are two")
		}
		next = noise.PublicKey(i.Value)
	}
	return next, nil
}

// After returns the keys to remember, the newest first, after a server has been reached by
// the key by, and has announced next; zero means none. settings is the key that the client's
// settings name, and known are the keys that it remembers so far. After returns an error if
// by is none of these: such a server is not believed.
func After(settings noise.PublicKey, known []noise.PublicKey, by, next noise.PublicKey) (keys []noise.PublicKey, err error) {
	if by != settings && !slices.Contains(known, by) {
		return nil, errors.New("the server was reached by a key that this client does not use")
	}
	if next == by {
		return nil, errors.New("the next key is the current one")
	}
	if next != (noise.PublicKey{}) {
		keys = append(keys, next)
	}
	if by != settings {
		keys = append(keys, by) // the key in the settings may be several changes old
	}
	return keys, nil
}
