package noise

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"
)

// A Suite is the cipher and the hash of a handshake (section 4). The
// Diffie-Hellman function is X25519 in both suites, and both hashes are 32 bytes
// long, so that a hash output can serve as a key without being truncated.
type Suite struct {
	name      string // as in the protocol name (section 8)
	newAEAD   func(key []byte) (cipher.AEAD, error)
	byteOrder binary.ByteOrder // of the counter in the nonce
	newHash   func() hash.Hash
}

// AESGCMSHA256 is AES-256-GCM (NIST SP 800-38D) with SHA-256. It is the faster suite
// on processors with AES instructions (sections 12.4 and 12.5).
var AESGCMSHA256 = Suite{"25519_AESGCM_SHA256", newAESGCM, binary.BigEndian, sha256.New}

// ChaChaPolyBLAKE2s is ChaCha20-Poly1305 (RFC 8439) with BLAKE2s (RFC 7693), fast on any
// processor (sections 12.3 and 12.7). No step uses it: it is for exercise 2, and shows
// that the handshake does not depend on the suite.
var ChaChaPolyBLAKE2s = Suite{"25519_ChaChaPoly_BLAKE2s", chacha20poly1305.New, binary.LittleEndian, newBLAKE2s}

func newAESGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func newBLAKE2s() hash.Hash {
	h, err := blake2s.New256(nil)
	if err != nil {
		panic(err) // only a wrong key causes an error, and there is none
	}
	return h
}

// hkdf is HKDF of section 4.3: it fills two or three outputs of 32 bytes. This
// is HKDF of RFC 5869 with the chaining key as salt and no info.
func (s Suite) hkdf(chainingKey [KeyLen]byte, input []byte, outputs ...*[KeyLen]byte) {
	okm, err := hkdf.Key(s.newHash, input, chainingKey[:], "", len(outputs)*KeyLen)
	if err != nil {
		panic(err) // only for more than 255 outputs
	}
	for i, out := range outputs {
		copy(out[:], okm[i*KeyLen:])
	}
	clear(okm)
}
