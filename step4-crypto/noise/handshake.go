// Package noise does handshakes of the Noise Protocol Framework, revision 34
// (https://noiseprotocol.org/noise.html): two sides exchange two messages, and
// then share keys that nobody else has. The section numbers in the comments are
// those of that specification.
//
// Read pattern.go first (what is exchanged, as data), then handshake.go (how a
// message is made and read), then the parts that it uses: symmetric.go, cipher.go,
// suite.go and key.go.
//
// Introduced in step 4.
package noise

import (
	"crypto/ecdh"
	"errors"
	"fmt"
	"slices"
)

// MaxMessage is the most bytes that a handshake message may have (section 3).
const MaxMessage = 65535

// A Config says which handshake to do, and with which keys. A key must be given
// just where the pattern uses it.
type Config struct {
	Suite     Suite
	Pattern   Pattern
	Initiator bool // the side that sends the first message

	Prologue   []byte        // what both sides must have the same, such as a protocol version (section 6)
	Static     *PrivateKey   // for a pattern in which this side has a static key
	PeerStatic *PublicKey    // for a pattern in which this side knows the other's beforehand
	PSK        *[KeyLen]byte // for a pattern with a pre-shared key
}

// A Handshake is the HandshakeState of section 5.3. It is not safe for
// concurrent use.
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

// New begins a handshake. It is an error when a key is missing, or given though
// the pattern does not use it.
func New(cfg Config) (*Handshake, error) {
	p := cfg.Pattern
	if len(p.messages) == 0 || cfg.Suite.newHash == nil {
		return nil, errors.New("noise: Config needs a Pattern and a Suite")
	}
	err := errors.Join(
		check(p, "Static", cfg.Static != nil, slices.Contains(p.pre(cfg.Initiator), "s") || p.sends(cfg.Initiator, "s")),
		check(p, "PeerStatic", cfg.PeerStatic != nil, slices.Contains(p.pre(!cfg.Initiator), "s")),
		check(p, "PSK", cfg.PSK != nil, p.usesPSK()),
	)
	if err != nil {
		return nil, err
	}

	h := &Handshake{
		symmetric: newSymmetricState(cfg.Suite, "Noise_"+p.name+"_"+cfg.Suite.name),
		pattern:   p,
		initiator: cfg.Initiator,
		generate:  GenerateKey,
	}
	h.symmetric.mixHash(cfg.Prologue)
	if cfg.Static != nil {
		h.s = cfg.Static.ecdh()
	}
	if cfg.PeerStatic != nil {
		h.rs = cfg.PeerStatic.ecdh()
	}
	if cfg.PSK != nil {
		psk := *cfg.PSK
		h.psk = &psk
	}
	for _, initiator := range []bool{true, false} {
		for range p.pre(initiator) { // "s" is the only token there
			if initiator == h.initiator {
				h.symmetric.mixHash(h.s.PublicKey().Bytes())
			} else {
				h.symmetric.mixHash(h.rs.Bytes())
			}
		}
	}
	return h, nil
}

func check(p Pattern, key string, given, needed bool) error {
	switch {
	case needed && !given:
		return fmt.Errorf("noise: pattern %s needs Config.%s on this side", p.name, key)
	case given && !needed:
		return fmt.Errorf("noise: pattern %s does not use Config.%s on this side", p.name, key)
	}
	return nil
}

// WriteMessage appends the next handshake message, with payload in it, to dst,
// which must not overlap payload. After an error the handshake is as before.
//
// In the patterns of this package every payload is encrypted. That of the
// first message has no forward secrecy yet, and can be replayed (section 7.7).
func (h *Handshake) WriteMessage(dst, payload []byte) ([]byte, error) {
	if err := h.turn(h.initiator); err != nil {
		return nil, err
	}
	if len(payload) > MaxMessage {
		return nil, errTooLong
	}
	try := *h // work on a copy: an error then changes nothing
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
// its payload to dst, which must not overlap message. After an error the
// handshake is as before, so that a forged message does not end it: the genuine
// one can still come.
func (h *Handshake) ReadMessage(dst, message []byte) ([]byte, error) {
	if err := h.turn(!h.initiator); err != nil {
		return nil, err
	}
	if len(message) > MaxMessage {
		return nil, errTooLong
	}
	try := *h // work on a copy: an error then changes nothing
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
			if try.symmetric.cipher.hasKey() {
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

// turn returns an error unless the next message is sent by the initiator, if
// that is asked for, or else by the responder.
func (h *Handshake) turn(initiator bool) error {
	switch {
	case h.Done():
		return errors.New("noise: the handshake is complete")
	case (h.next%2 == 0) != initiator:
		return errors.New("noise: it is the other side's turn")
	}
	return nil
}

// mixEphemeral takes in an ephemeral public key. With a pre-shared key it makes
// a new cipher key too: "psk" may come before any Diffie-Hellman result, and the
// same key with the same counter must not occur in two handshakes (section 9.2).
func (h *Handshake) mixEphemeral(public []byte) {
	h.symmetric.mixHash(public)
	if h.psk != nil {
		h.symmetric.mixKey(public)
	}
}

// mixSecret takes in what a token other than "e" and "s" names. A public key of
// low order, which would make the result known to all, is an error (RFC 7748,
// section 6.1).
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

// Done reports whether all messages have been written and read.
func (h *Handshake) Done() bool { return h.next == len(h.pattern.messages) }

// PeerStatic returns the other side's static public key, if it is known yet.
func (h *Handshake) PeerStatic() (PublicKey, bool) {
	if h.rs == nil {
		return PublicKey{}, false
	}
	return PublicKey(h.rs.Bytes()), true
}

// Hash returns the 32-byte handshake hash. Once Done, it is the same on both
// sides and in no other handshake, so it names the session (section 11.2).
func (h *Handshake) Hash() []byte { return slices.Clone(h.symmetric.h[:]) }

// Split returns the ciphers for the messages that follow, once the handshake is
// Done. It may be called once: it drops the secrets.
//
// That erases what is in arrays of this package. Copies inside crypto/ecdh, the
// ciphers and HMAC, on old stacks, and in the swap space are out of reach of a
// Go program. They go when the garbage collector reuses the memory.
func (h *Handshake) Split() (send, receive *Cipher, err error) {
	if !h.Done() || h.split {
		return nil, nil, errors.New("noise: Split comes once, after the last message")
	}
	send, receive = h.symmetric.split()
	if !h.initiator {
		send, receive = receive, send
	}
	h.split = true
	clear(h.symmetric.ck[:])
	h.symmetric.cipher = cipherState{}
	h.s, h.e, h.re = nil, nil, nil
	if h.psk != nil {
		clear(h.psk[:])
	}
	return send, receive, nil
}
