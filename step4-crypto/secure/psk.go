package secure

import "stepvpn/step4-crypto/noise"

// Second reading, for step 8: some clients of a server have a pre-shared key of their own
// and others have none, so the server reads initiations of two patterns.

// readOther returns the handshake of an initiation of the pattern Config.Other, and what
// the initiation carries.
func (r *Responder) readOther(i initiation) (h *noise.Handshake, inside []byte, ok bool) {
	if r.cfg.other == nil {
		return nil, nil, false
	}
	h = r.cfg.other.Clone()
	inside, err := h.ReadMessage(nil, i.noise)
	return h, inside, err == nil
}

// UsesPSK reports whether a pre-shared key will be mixed in.
func (q *Request) UsesPSK() bool { return q.handshake.UsesPSK() }

// SetPSK replaces the pre-shared key by that of the client that asks. In a pattern that
// mixes it into the response (IKpsk2), it may be called until the response is made.
func (q *Request) SetPSK(key *[noise.KeyLen]byte) { q.handshake.SetPSK(key) }
