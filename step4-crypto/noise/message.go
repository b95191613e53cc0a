package noise

import (
	"crypto/ecdh"
	"errors"
	"fmt"
)

// A Handshake makes and reads the messages of one handshake, token by token. It is the
// HandshakeState of section 5.3. It is not safe for concurrent use.
type Handshake struct {
	symmetric symmetricState
	pattern   Pattern
	initiator bool
	next      int // index of the next message in pattern.messages
	split     bool

	s, e   *ecdh.PrivateKey // this side's static and ephemeral keys
	rs, re *ecdh.PublicKey  // the other side's ("remote")
	psk    *[KeyLen]byte

	generate func() PrivateKey // GENERATE_KEYPAIR; tests of published vectors replace it
}

// MaxMessage is the most bytes that a handshake message may have (section 3).
const MaxMessage = 65535

// WriteMessage appends the next handshake message, with payload in it, to dst,
// which must not overlap payload. An error leaves the handshake unchanged.
//
// In the patterns of this package every payload is encrypted. The payload of the
// first message has no forward secrecy yet, and can be replayed (section 7.7).
func (h *Handshake) WriteMessage(dst, payload []byte) ([]byte, error) {
	if err := h.turn(h.initiator); err != nil {
		return nil, err
	}
	if len(payload) > MaxMessage {
		return nil, errTooLong
	}
	try := *h // work on a copy, so that an error changes nothing
	start := len(dst)
	for _, t := range h.pattern.messages[h.next] {
		switch t {
		case "e":
			try.e = h.generate().ecdh()
			public := try.e.PublicKey().Bytes()
			dst = append(dst, public...)
			try.mixEphemeral(public)
		case "s":
			dst = try.symmetric.encryptAndHash(dst, h.s.PublicKey().Bytes())
		default:
			if err := try.mixSecret(t); err != nil {
				return nil, err
			}
		}
	}
	dst = try.symmetric.encryptAndHash(dst, payload)
	if len(dst)-start > MaxMessage {
		return nil, errTooLong
	}
	try.next++
	*h = try
	return dst, nil
}

// ReadMessage checks the next handshake message of the other side and appends
// its payload to dst, which must not overlap message. An error leaves the handshake
// unchanged, so that a forged message does not end it: the genuine one can still come.
func (h *Handshake) ReadMessage(dst, message []byte) ([]byte, error) {
	if err := h.turn(!h.initiator); err != nil {
		return nil, err
	}
	if len(message) > MaxMessage {
		return nil, errTooLong
	}
	try := *h // work on a copy, so that an error changes nothing
	for _, t := range h.pattern.messages[h.next] {
		switch t {
		case "e":
			if len(message) < KeyLen {
				return nil, errTooShort
			}
			public := PublicKey(message)
			message = message[KeyLen:]
			try.re = public.ecdh()
			try.mixEphemeral(public[:])
		case "s":
			n := KeyLen
			if try.symmetric.cipher.hasKey() { // then s is encrypted
				n += TagLen
			}
			if len(message) < n {
				return nil, errTooShort
			}
			public, err := try.symmetric.decryptAndHash(nil, message[:n])
			if err != nil {
				return nil, err
			}
			message = message[n:]
			try.rs = PublicKey(public).ecdh()
		default:
			if err := try.mixSecret(t); err != nil {
				return nil, err
			}
		}
	}
	payload, err := try.symmetric.decryptAndHash(dst, message)
	if err != nil {
		return nil, err
	}
	try.next++
	*h = try
	return payload, nil
}

var (
	errTooLong  = fmt.Errorf("noise: a handshake message is at most %d bytes", MaxMessage)
	errTooShort = errors.New("noise: the handshake message is too short")
)

// turn returns an error unless the next message is the initiator's, or, if initiator is
// false, the responder's.
func (h *Handshake) turn(initiator bool) error {
	switch {
	case h.Done():
		return errors.New("noise: the handshake is complete")
	case (h.next%2 == 0) != initiator:
		return errors.New("noise: it is the other side's turn")
	}
	return nil
}

// mixEphemeral mixes in an ephemeral public key. With a pre-shared key it also makes
// a new cipher key: "psk" may come before any Diffie-Hellman result, and the same key
// must not occur with the same counter in two handshakes (section 9.2).
func (h *Handshake) mixEphemeral(public []byte) {
	h.symmetric.mixHash(public)
	if h.psk != nil {
		h.symmetric.mixKey(public)
	}
}

// mixSecret mixes in the secret that a token other than "e" and "s" names: the
// pre-shared key, or a Diffie-Hellman result, of which the token's first letter names the
// initiator's key and the second the responder's. A public key of low order is an error,
// because everybody would know the result (RFC 7748, section 6.1); it names the token.
//
//exercise:1
func (h *Handshake) mixSecret(t token) error {
	if t == "psk" {
		h.symmetric.mixKeyAndHash(h.psk[:])
		return nil
	}
	mine, theirs := t[0], t[1] // the initiator's key comes first
	if !h.initiator {
		mine, theirs = theirs, mine
	}
	private, public := h.e, h.re
	if mine == 's' {
		private = h.s
	}
	if theirs == 's' {
		public = h.rs
	}
	secret, err := private.ECDH(public)
	if err != nil {
		return fmt.Errorf("noise: %s: %w", t, err)
	}
	h.symmetric.mixKey(secret)
	clear(secret)
	return nil
}
