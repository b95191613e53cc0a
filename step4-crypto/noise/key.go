package noise

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// A PrivateKey is an X25519 private key (RFC 7748). Any 32 random bytes are one. NNpsk0 has
// only ephemeral ones; from step 7 on, each client has one in a file.
type PrivateKey [KeyLen]byte

// A PublicKey is an X25519 public key, which is no secret.
type PublicKey [KeyLen]byte

// KeyLen is the length in bytes of every key: X25519 keys, pre-shared keys and
// cipher keys.
const KeyLen = 32

// GenerateKey returns a fresh private key.
func GenerateKey() PrivateKey {
	var k PrivateKey
	rand.Read(k[:]) // never fails: it ends the process instead
	return k
}

// Public returns the public key that belongs to k. Step 7's people exchange these.
func (k PrivateKey) Public() PublicKey {
	return PublicKey(k.ecdh().PublicKey().Bytes())
}

// FormatKey returns a key as people write it: in base64 (RFC 4648, section 4), 44
// characters.
func FormatKey[K ~[KeyLen]byte](k K) string { return base64.StdEncoding.EncodeToString(k[:]) }

// ParseKey reads what FormatKey writes, and nothing else: a key has one spelling only.
// The error, ErrBase64 or a KeyLenError, does not repeat the text, which may be a
// secret.
func ParseKey[K ~[KeyLen]byte](s string) (k K, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") { // the decoder ignores line ends
		return k, ErrBase64
	}
	if len(b) != KeyLen {
		return k, KeyLenError(len(b))
	}
	return K(b), nil
}

// ErrBase64 is ParseKey's error for a text that is not base64.
var ErrBase64 = errors.New("not a key in base64")

// A KeyLenError is ParseKey's error for a text of the wrong length. Its value is the
// number of bytes that the text encodes.
type KeyLenError int

func (n KeyLenError) Error() string { return fmt.Sprintf("%d bytes, a key has %d", int(n), KeyLen) }

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
