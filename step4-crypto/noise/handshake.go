// Package noise does handshakes of the Noise Protocol Framework, revision 34
// (https://noiseprotocol.org/noise.html): two sides exchange two messages, and
// then share keys that nobody else has. The section numbers in the comments are
// those of that specification.
//
// pattern.go has what is exchanged, as data; message.go makes and reads the messages, and
// this file begins and ends a handshake. They use symmetric.go, cipher.go, suite.go and
// key.go.
//
// Introduced in step 4.
package noise

import (
	"errors"
	"fmt"
	"slices"
)

// A Config says which handshake to do, and with which keys. A key must be given if
// the pattern uses it, and must be left out if not.
type Config struct {
	Suite     Suite
	Pattern   Pattern
	Initiator bool // the side that sends the first message

	Prologue   []byte        // data that must be the same on both sides, such as a protocol version (section 6)
	Static     *PrivateKey   // for a pattern in which this side has a static key
	PeerStatic *PublicKey    // for a pattern in which this side knows the other's beforehand
	PSK        *[KeyLen]byte // for a pattern with a pre-shared key
}

// New begins a handshake. It returns an error if a key is missing, or if one is given
// that the pattern does not use.
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

// Clone returns an independent copy of the handshake in its present state. New computes
// the public key of Config.Static; a program that answers many handshakes saves that
// by making one and cloning it. Do not clone a handshake that has written a message:
// two handshakes with the same ephemeral key would share secrets.
func (h *Handshake) Clone() *Handshake {
	c := *h // the keys do not change, so they may be shared...
	if h.psk != nil {
		psk := *h.psk // ...but Split erases this one
		c.psk = &psk
	}
	return &c
}

// UsesPSK reports whether the pattern has a pre-shared key.
func (h *Handshake) UsesPSK() bool { return h.pattern.usesPSK() }

// LatePSK reports whether the pre-shared key is mixed in only after the first message: then
// a responder answers also an initiator that has another one.
func (h *Handshake) LatePSK() bool { return h.UsesPSK() && !h.pattern.sends(true, "psk") }

// SetPSK replaces the pre-shared key, in a pattern that uses one and before it has been
// mixed in: a responder of IKpsk2 chooses the key when it knows who the initiator is.
func (h *Handshake) SetPSK(key *[KeyLen]byte) {
	psk := *key
	h.psk = &psk
}

// check returns an error unless a key is given exactly if it is needed.
func check(p Pattern, key string, given, needed bool) error {
	switch {
	case needed && !given:
		return fmt.Errorf("noise: pattern %s needs Config.%s on this side", p.name, key)
	case given && !needed:
		return fmt.Errorf("noise: pattern %s does not use Config.%s on this side", p.name, key)
	}
	return nil
}

// Done reports whether all messages have been written and read.
func (h *Handshake) Done() bool { return h.next == len(h.pattern.messages) }

// PeerStatic returns the other side's static public key, if it is known yet. Step 7 finds
// a client by it.
func (h *Handshake) PeerStatic() (PublicKey, bool) {
	if h.rs == nil {
		return PublicKey{}, false
	}
	return PublicKey(h.rs.Bytes()), true
}

// Ephemeral returns this side's ephemeral private key, if it has sent the public one and Split
// has not dropped it. Who has it and what crossed the wire can read the session, so it is for
// tools that let Wireshark do so, and never leaves a VPN.
func (h *Handshake) Ephemeral() (PrivateKey, bool) {
	if h.e == nil {
		return PrivateKey{}, false
	}
	return PrivateKey(h.e.Bytes()), true
}

// Split returns the ciphers for the messages that follow, once the handshake is
// Done. It may be called once: it drops the secrets.
//
// That erases the secrets in this package's own arrays. A Go program can't erase the
// copies inside crypto/ecdh, the ciphers and HMAC, on old stacks, and in the swap
// space. Those in memory remain until the garbage collector reuses it.
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
