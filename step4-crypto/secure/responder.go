package secure

import (
	"time"

	"stepvpn/step4-crypto/noise"
)

// A Responder is the server's side of handshakes. It reads initiations, and makes a Request
// only of those that authenticate, so nobody without a key learns that the server is there. It is safe for concurrent use.
type Responder struct{ cfg *Config }

// NewResponder checks a Config, for step 7's hub. Of its fields it uses Handshake, Other,
// Drops and MTU.
func NewResponder(cfg Config) (*Responder, error) {
	complete, err := cfg.complete(false)
	if err != nil {
		return nil, err
	}
	return &Responder{complete}, nil
}

// A Request is an initiation that has authenticated: a client asks for a session. The
// caller decides whether this client may have one, and whether the initiation is a copy.
// A Request is answered at most once. It is not safe for concurrent use.
type Request struct {
	handshake *noise.Handshake
	sender    uint32 // the index that the other side gave the keys
	time      uint64
	payload   []byte
	older     bool
	format    *Format // nil: this package's
}

// Read authenticates an initiation. If m is not an initiation, or does not authenticate,
// Read counts it as dropped and returns false. A client of the previous version also
// authenticates, with that version's handshake: then the Request is Older.
func (r *Responder) Read(m []byte) (*Request, bool) {
	i, ok := parseInitiation(m)
	if !ok {
		r.cfg.Drops.Add(BadMessage)
		return nil, false
	}
	h := r.cfg.handshake.Clone()
	inside, err := h.ReadMessage(nil, i.noise)
	if err != nil {
		if h, inside, ok = r.readOther(i); !ok { // another pattern, in step 8
			if q := r.readOlder(i); q != nil { // the previous version
				return q, true
			}
			r.cfg.Drops.Add(BadTag)
			return nil, false
		}
	}
	q := &Request{handshake: h, sender: i.sender, format: r.cfg.Format}
	// inside is the time and the payload, see handshakecontent.go.
	if q.time, q.payload, ok = r.cfg.Format.parseRequest(inside); !ok {
		r.cfg.Drops.Add(BadMessage)
		return nil, false
	}
	return q, true
}

// PeerStatic returns the static key of the client that asks; the client has proved that
// it has the private key. In a pattern without static keys it is zero.
func (q *Request) PeerStatic() noise.PublicKey {
	key, _ := q.handshake.PeerStatic()
	return key
}

// Time returns the time on the client's clock, in nanoseconds since 1970. It is later in
// each initiation of a client. An earlier one means that the initiation is a copy, or
// that the client has restarted and its clock has gone back: Behind tells it so.
func (q *Request) Time() uint64 { return q.time }

// Payload returns what the initiation carried. It may be a copy of an earlier
// one: the sender has not proven yet that it is there now.
func (q *Request) Payload() []byte { return q.payload }

// Accept gives p the keys that the handshake produces, and returns the response to send.
// p starts to use them when the first packet under them arrives. Accept fails if the
// payload is longer than MaxPayload, or if the other side's ephemeral key is of low order.
func (q *Request) Accept(p *Peer, payload []byte, now time.Time) (response []byte, err error) {
	if len(payload) > MaxPayload {
		return nil, errPayload(payload)
	}
	reserved := p.table.reserve(p) // an index for the new keys
	response, err = q.handshake.WriteMessage(newResponse(reserved.local, q.sender), p.cfg.Format.accept(payload))
	if err != nil {
		p.table.remove(reserved)
		return nil, err
	}
	s, err := newKeypair(q.handshake, reserved, q.sender, now)
	if err != nil {
		p.table.remove(reserved)
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setNext(reserved, s)
	return response, nil
}

// Refuse returns a response that says why there is no session; step 7's server has
// reasons. Nobody but the client can read it. It is nil if the client's ephemeral key is
// of low order.
func (q *Request) Refuse(why Rejected) (response []byte) {
	return q.deny(why.Append([]byte{refused}))
}

// Behind is Refuse with a response that tells the client that its clock is behind a time,
// which is in nanoseconds since 1970.
func (q *Request) Behind(time uint64) (response []byte) {
	return q.deny(appendTime([]byte{behind}, time))
}

// deny answers with a message without keys: its index is 0. A Format has no such message.
func (q *Request) deny(payload []byte) []byte {
	if q.format != nil {
		return nil
	}
	m, err := q.handshake.WriteMessage(newResponse(0, q.sender), payload)
	if err != nil {
		return nil
	}
	return m
}
