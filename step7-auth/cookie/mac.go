package cookie

import (
	"crypto/cipher"
	"crypto/hmac"
	"hash"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"

	"stepvpn/step4-crypto/noise"
)

// A mac is a message authentication code of 16 bytes: keyed BLAKE2s (RFC 7693, section
// 2.9), as in WireGuard. A cookie is one, too.
type mac [macLen]byte

// A hasher makes codes under one key. It is not safe for concurrent use.
type hasher struct {
	hash hash.Hash
	last mac // a field, so that computing a code allocates nothing
}

func newHasher(key []byte) *hasher {
	h, err := blake2s.New128(key)
	if err != nil {
		panic(err) // only for a wrong length
	}
	return &hasher{hash: h}
}

// sum returns the code of a message. Those before it don't count, and nothing is allocated.
//
//exercise:2
func (h *hasher) sum(message []byte) mac {
	h.hash.Reset()
	h.hash.Write(message)
	h.hash.Sum(h.last[:0])
	return h.last
}

// equals compares in constant time.
func (m mac) equals(other []byte) bool { return hmac.Equal(m[:], other) }

// mac1Of returns the hasher for the mac1 of initiations to a server. Its key is the hash
// (BLAKE2s-256) of the label "mac1----" and the server's public key.
//
//exercise:2
func mac1Of(server noise.PublicKey) *hasher {
	key := blake2s.Sum256(append([]byte("mac1----"), server[:]...))
	return newHasher(key[:])
}

// cipherOf returns the cipher for a server's cookies. The nonces are random;
// XChaCha20-Poly1305's, of 24 bytes, are long enough for that.
func cipherOf(server noise.PublicKey) cipher.AEAD {
	key := blake2s.Sum256(append([]byte("cookie--"), server[:]...))
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		panic(err) // only for a wrong length
	}
	return aead
}

// A message m has two codes at its end. Each of them covers all bytes before it.
func mac1At(m []byte) (covered, code []byte) {
	return m[:len(m)-2*macLen], m[len(m)-2*macLen : len(m)-macLen]
}
func mac2At(m []byte) (covered, code []byte) { return m[:len(m)-macLen], m[len(m)-macLen:] }
