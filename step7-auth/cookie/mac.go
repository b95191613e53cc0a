package cookie

import (
	"crypto/cipher"
	"crypto/hmac"
	"hash"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"

	"stepvpn/step4-crypto/noise"
)

// A mac is a message authentication code of 16 bytes: keyed BLAKE2s (RFC 7693,
// section 2.9), where WireGuard uses it too. A cookie is one.
type mac [macLen]byte

// keyed returns the hash that makes codes under a key.
func keyed(key []byte) hash.Hash {
	h, err := blake2s.New128(key)
	if err != nil {
		panic(err) // only for a wrong length
	}
	return h
}

// sum returns the code of message.
func sum(h hash.Hash, message []byte) (m mac) {
	h.Reset()
	h.Write(message)
	h.Sum(m[:0])
	return m
}

// equals compares in constant time.
func (m mac) equals(other []byte) bool { return hmac.Equal(m[:], other) }

// mac1Of returns the hash that makes the mac1 of initiations for a server.
func mac1Of(server noise.PublicKey) hash.Hash {
	key := blake2s.Sum256(append([]byte("mac1----"), server[:]...))
	return keyed(key[:])
}

// cipherOf returns the cipher for cookies of a server. The nonces are random;
// those of XChaCha20-Poly1305 are long enough for that.
func cipherOf(server noise.PublicKey) cipher.AEAD {
	key := blake2s.Sum256(append([]byte("cookie--"), server[:]...))
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		panic(err) // only for a wrong length
	}
	return aead
}

// A message with two codes at its end. Each is over all that stands before it.
func mac1At(m []byte) (covered, code []byte) {
	return m[:len(m)-2*macLen], m[len(m)-2*macLen : len(m)-macLen]
}
func mac2At(m []byte) (covered, code []byte) { return m[:len(m)-macLen], m[len(m)-macLen:] }
