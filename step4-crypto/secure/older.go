package secure

import "stepvpn/step4-crypto/noise"

// Second reading: clients that have not been updated yet. A server can't serve them, because
// their messages are different. But their initiations have the same form, so Responder.Read
// can tell these clients from strangers. In step 4 the server logs that (oneClient.answer).
// From step 7 on it also tells them, in their version of the protocol, that they must be
// updated: RefuseOlder and Update are for that.

// olderPrologue was the prologue of the previous version.
const olderPrologue = "stepvpn secure 2"

// readOlder returns a Request if i is an initiation of the previous version, else nil.
func (r *Responder) readOlder(i initiation) *Request {
	if r.cfg.older == nil {
		return nil
	}
	h := r.cfg.older.Clone()
	if _, err := h.ReadMessage(nil, i.noise); err != nil {
		return nil
	}
	return &Request{handshake: h, sender: i.sender, older: true}
}

// Older reports whether the request is from a client of an older version. The only answer
// that such a client can read is that of RefuseOlder.
func (q *Request) Older() bool { return q.older }

// RefuseOlder is Refuse for a client of an older version: it says only that the client
// must be updated. The clients of steps 7 and 8 show that; those of earlier steps know no
// such answer, and give up by themselves.
func (q *Request) RefuseOlder() (response []byte) {
	const version, final = 1, 3 // as in the answers of steps 7 and 8 at that time
	return q.deny(append([]byte{version, final}, Update...))
}

// Update is the sentence that an older client is told.
const Update = "the server speaks a newer version of this protocol: update this program"

func older(cfg noise.Config) (*noise.Handshake, error) {
	cfg.Prologue = []byte(olderPrologue)
	return noise.New(cfg)
}
