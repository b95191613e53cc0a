package secure

import "stepvpn/shared/link"

// This file is what the sender calls: Keys.Seal checks that it has a packet, pads it, and puts the
// sealed message into a burst. The cryptography is in keypair.seal (keys.go).

// Keys are the keys to seal packets under at one moment. The zero value has no keys.
type Keys struct {
	keypair *keypair
	mtu     int
}

// Seal appends to out a data message that contains the IP packet p, padded. If it can't,
// it returns false and the reason: link.TooBig if there is no room (left) in out,
// NoSession if there are no keys or they are worn out, and link.Malformed if p is not a
// packet, because it might be mistaken for a control message. It allocates nothing.
func (k Keys) Seal(out *link.Burst, p []byte) (why link.Reason, ok bool) {
	if k.keypair == nil {
		return NoSession, false
	}
	if _, ok := packetLen(p); !ok {
		return link.Malformed, false
	}
	length := padded(len(p), k.mtu)
	room := out.Alloc(length + Overhead)
	if room == nil {
		return link.TooBig, false
	}
	if _, ok := k.keypair.seal(room[:0], p, length); !ok {
		out.Truncate(out.Len() - 1)
		return NoSession, false
	}
	return 0, true
}

// seal returns a new message that contains plaintext, padded, or nil if there are no
// keys or they are worn out.
func (k Keys) seal(plaintext []byte) []byte {
	if k.keypair == nil {
		return nil
	}
	m, ok := k.keypair.seal(nil, plaintext, padded(len(plaintext), k.mtu))
	if !ok {
		return nil
	}
	return m
}
