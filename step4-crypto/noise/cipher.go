package noise

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"math"
	"sync"
)

// A Cipher encrypts and authenticates messages under one key: ENCRYPT and
// DECRYPT of section 4.2. The caller passes the counter n, because datagrams get
// lost and overtake each other, so the receiver can't simply keep count itself
// (section 11.4). It is safe for concurrent use.
type Cipher struct {
	aead      cipher.AEAD
	byteOrder binary.ByteOrder
	withoutAD bool
}

// TagLen is the length in bytes of the tag that sealing adds.
const TagLen = 16

// reservedCounter is never used for a message (section 5.1).
const reservedCounter = math.MaxUint64

var errOpen = errors.New("noise: the message does not authenticate")

func newCipher(s Suite, key *[KeyLen]byte) *Cipher {
	aead, err := s.newAEAD(key[:])
	if err != nil {
		panic(err) // only for a wrong length
	}
	return &Cipher{aead: aead, byteOrder: s.byteOrder}
}

// WithoutAD returns a Cipher under the same key that takes every ad as empty, for protocols
// that authenticate none. Only one of the two may seal: they do not know each other's counters.
func (c *Cipher) WithoutAD() *Cipher { return &Cipher{c.aead, c.byteOrder, true} }

// Seal encrypts plaintext and appends it and its tag to dst. The tag also authenticates
// ad. A counter must never be used twice: that would reveal the plaintexts and let
// others forge messages. 2^64-1 is reserved: Seal panics if it is the counter.
//
// To encrypt in place, let dst end where plaintext begins; otherwise the two must not
// overlap. If dst has enough capacity, Seal does not allocate.
func (c *Cipher) Seal(dst []byte, counter uint64, ad, plaintext []byte) []byte {
	if counter == reservedCounter {
		panic("noise: Seal with the reserved counter 2^64-1")
	}
	if c.withoutAD {
		ad = nil
	}
	nonce := c.nonce(counter)
	defer nonces.Put(nonce)
	return c.aead.Seal(dst, nonce[:], plaintext, ad)
}

// Open checks that ciphertext and ad are what was sealed under this key and
// counter, and appends the plaintext to dst. If they are not, it returns an error
// and no plaintext. The bytes after dst may be overwritten even then, and with them a
// ciphertext that was to be opened in place.
//
// To decrypt in place, let dst end where ciphertext begins; otherwise the two must not
// overlap. If dst has enough capacity, Open does not allocate.
func (c *Cipher) Open(dst []byte, counter uint64, ad, ciphertext []byte) ([]byte, error) {
	if counter == reservedCounter {
		return nil, errOpen
	}
	if c.withoutAD {
		ad = nil
	}
	nonce := c.nonce(counter)
	defer nonces.Put(nonce)
	plaintext, err := c.aead.Open(dst, nonce[:], ciphertext, ad)
	if err != nil {
		return nil, errOpen
	}
	return plaintext, nil
}

// nonces holds scratch space. A nonce on the stack would be moved to the heap, which
// costs one allocation per packet: the compiler can't see what an interface such as
// cipher.AEAD does with it.
var nonces = sync.Pool{New: func() any { return new([12]byte) }}

// nonce returns 4 zero bytes and the counter (sections 12.3 and 12.4), in space
// that the caller puts back.
func (c *Cipher) nonce(counter uint64) *[12]byte {
	nonce := nonces.Get().(*[12]byte)
	c.byteOrder.PutUint64(nonce[4:], counter)
	return nonce
}

// A cipherState is the CipherState of section 5.1: a key, or none yet, and the
// counter of messages under it. During a handshake each side keeps count by itself.
type cipherState struct {
	k *Cipher // nil until the first key is mixed in
	n uint64
}

func (c *cipherState) hasKey() bool { return c.k != nil }

// encryptWithAd appends plaintext to dst, encrypted if there is a key.
func (c *cipherState) encryptWithAd(dst, ad, plaintext []byte) []byte {
	if !c.hasKey() {
		return append(dst, plaintext...)
	}
	dst = c.k.Seal(dst, c.n, ad, plaintext)
	c.n++
	return dst
}

// decryptWithAd is the inverse of encryptWithAd. An error leaves n unchanged.
func (c *cipherState) decryptWithAd(dst, ad, ciphertext []byte) ([]byte, error) {
	if !c.hasKey() {
		return append(dst, ciphertext...), nil
	}
	dst, err := c.k.Open(dst, c.n, ad, ciphertext)
	if err != nil {
		return nil, err
	}
	c.n++
	return dst, nil
}
