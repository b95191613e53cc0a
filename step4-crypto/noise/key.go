package noise

import (
	"crypto/ecdh"
	"crypto/rand"
)

// KeyLen is the length in bytes of every key: X25519 keys, pre-shared keys and
// cipher keys.
const KeyLen = 32

// A PrivateKey is an X25519 private key (RFC 7748). Any 32 random bytes are one.
type PrivateKey [KeyLen]byte

// A PublicKey is an X25519 public key: what the other side may know.
type PublicKey [KeyLen]byte

// GenerateKey returns a fresh private key.
func GenerateKey() PrivateKey {
	var k PrivateKey
	rand.Read(k[:]) // never fails: it ends the process instead
	return k
}

// Public returns the public key that belongs to k.
func (k PrivateKey) Public() PublicKey {
	return PublicKey(k.ecdh().PublicKey().Bytes())
}

func (k PrivateKey) ecdh() *ecdh.PrivateKey {
	key, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil {
		panic(err) // only for a wrong length
	}
	return key
}

func (k PublicKey) ecdh() *ecdh.PublicKey {
	key, err := ecdh.X25519().NewPublicKey(k[:])
	if err != nil {
		panic(err) // only for a wrong length
	}
	return key
}
