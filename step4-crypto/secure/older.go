package secure

import "stepvpn/step4-crypto/noise"

// Second reading: what a server makes of clients that have not been updated yet.
//
// They can't be served, for their messages are others. But their initiations look
// the same from outside, so the server can tell them from strangers, and say in
// their own words what is to be done.

// olderPrologue was that of the version before.
const olderPrologue = "stepvpn secure 2"

// readOlder returns a Request if i is an initiation of the version before.
func (r *Responder) readOlder(i initiation) *Request {
	h := r.cfg.older.Clone()
	if _, err := h.ReadMessage(nil, i.noise); err != nil {
		return nil
	}
	return &Request{handshake: h, sender: i.sender, older: true}
}

// Older reports whether a client of an older version asks. The only answer that it
// can read is RefuseOlder.
func (q *Request) Older() bool { return q.older }

// RefuseOlder is Refuse for a client of an older version, which says no more than
// that it is to be updated. Step 7's and 8's show it; those before have no such
// answer, and give up by themselves.
func (q *Request) RefuseOlder() (response []byte) {
	const version, final = 1, 3 // of what steps 7 and 8 then answered
	return q.deny(append([]byte{version, final}, Update...))
}

// Update is what an older client is told.
const Update = "the server speaks a newer version of this protocol: update this program"

func older(cfg noise.Config) (*noise.Handshake, error) {
	cfg.Prologue = []byte(olderPrologue)
	return noise.New(cfg)
}
