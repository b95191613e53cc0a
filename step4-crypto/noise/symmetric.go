package noise

// A symmetricState is what the messages of a handshake have led to so far: the key for the
// next encryption, and a hash of all that was exchanged. It is the SymmetricState of
// section 5.2. It has no pointers to data that changes, so an assignment copies it.
type symmetricState struct {
	suite  Suite
	cipher cipherState  // encrypts once it has a key, and counts its nonces (cipher.go)
	ck     [KeyLen]byte // chaining key: all secrets mixed in so far
	h      [KeyLen]byte // hash of all that both sides must agree on so far
}

// newSymmetricState is InitializeSymmetric.
func newSymmetricState(suite Suite, protocolName string) symmetricState {
	s := symmetricState{suite: suite}
	if len(protocolName) <= len(s.h) {
		copy(s.h[:], protocolName)
	} else {
		s.h = s.hash([]byte(protocolName))
	}
	s.ck = s.h
	return s
}

// mixKey makes a new key out of all secrets so far and this one: hkdf (suite.go) hashes
// both, and derives the new chaining key and the key from the result.
func (s *symmetricState) mixKey(secret []byte) {
	var k [KeyLen]byte
	s.suite.hkdf(s.ck, secret, &s.ck, &k)
	s.initializeKey(&k)
}

// mixKeyAndHash does the same with a pre-shared key, and also mixes a part of the
// result into h.
func (s *symmetricState) mixKeyAndHash(psk []byte) {
	var temp, k [KeyLen]byte
	s.suite.hkdf(s.ck, psk, &s.ck, &temp, &k)
	s.mixHash(temp[:])
	s.initializeKey(&k)
}

// mixHash mixes data, which is not secret, into h.
func (s *symmetricState) mixHash(data []byte) {
	s.h = s.hash(s.h[:], data)
}

// encryptAndHash encrypts plaintext, if there is a key, and appends it to the message
// dst. The tag also authenticates h, and so everything that went before.
func (s *symmetricState) encryptAndHash(dst, plaintext []byte) []byte {
	start := len(dst)
	dst = s.cipher.encryptWithAd(dst, s.h[:], plaintext)
	s.mixHash(dst[start:])
	return dst
}

// decryptAndHash is the inverse of encryptAndHash.
func (s *symmetricState) decryptAndHash(dst, ciphertext []byte) ([]byte, error) {
	dst, err := s.cipher.decryptWithAd(dst, s.h[:], ciphertext)
	if err != nil {
		return nil, err
	}
	s.mixHash(ciphertext)
	return dst, nil
}

// split returns the ciphers for the messages of the initiator and of the responder.
func (s *symmetricState) split() (initiator, responder *Cipher) {
	var k1, k2 [KeyLen]byte
	s.suite.hkdf(s.ck, nil, &k1, &k2)
	return newCipher(s.suite, &k1), newCipher(s.suite, &k2)
}

func (s *symmetricState) initializeKey(k *[KeyLen]byte) {
	s.cipher = cipherState{k: newCipher(s.suite, k)}
}

func (s *symmetricState) hash(data ...[]byte) (sum [KeyLen]byte) {
	h := s.suite.newHash()
	for _, d := range data {
		h.Write(d)
	}
	h.Sum(sum[:0])
	return sum
}
