package secure

import (
	"time"

	"stepvpn/step4-crypto/noise"
)

// A Responder is the server's side of handshakes. It reads initiations, and only
// those that authenticate become a Request, so nobody without a key learns that
// it is there. It is safe for concurrent use.
type Responder struct{ cfg *Config }

// NewResponder checks a Config. Of its fields it uses Handshake, Other, Drops and MTU.
func NewResponder(cfg Config) (*Responder, error) {
	complete, err := cfg.complete(false)
	if err != nil {
		return nil, err
	}
	return &Responder{complete}, nil
}

// A Request is an initiation that has authenticated: somebody asks for a
// session. Who, and whether it is a copy, is for others to judge. It is answered
// once at most. It is not safe for concurrent use.
type Request struct {
	handshake *noise.Handshake
	sender    uint32 // the index that the other side gave the keys
	time      uint64
	payload   []byte
	older     bool
}

// Read authenticates an initiation. If it is none, or does not authenticate, it is
// counted and dropped: Read reports false.
func (r *Responder) Read(m []byte) (*Request, bool) {
	i, ok := parseInitiation(m)
	if !ok {
		r.cfg.Drops.Add(BadMessage)
		return nil, false
	}
	h := r.cfg.handshake.Clone()
	inside, err := h.ReadMessage(nil, i.noise)
	if err != nil {
		if h, inside, ok = r.readOther(i); !ok {
			if q := r.readOlder(i); q != nil {
				return q, true
			}
			r.cfg.Drops.Add(BadTag)
			return nil, false
		}
	}
	q := &Request{handshake: h, sender: i.sender}
	if q.time, q.payload, ok = parseRequest(inside); !ok {
		r.cfg.Drops.Add(BadMessage)
		return nil, false
	}
	return q, true
}

// PeerStatic returns the static key of who asks, which it has proven to have. In
// a pattern without static keys it is zero.
func (q *Request) PeerStatic() noise.PublicKey {
	key, _ := q.handshake.PeerStatic()
	return key
}

// Time is what the clock of who asks says, in nanoseconds since 1970. It is later
// in each initiation of a client, so an earlier one is a copy; or the client has
// started anew, and its clock has gone back: Behind tells it so.
func (q *Request) Time() uint64 { return q.time }

// Payload returns what the initiation carried. It may be a copy of an earlier
// one: the sender has not proven yet that it is there now.
func (q *Request) Payload() []byte { return q.payload }

// Accept gives p the keys that come of the request, and returns the response to
// send. p takes them into use when the first packet under them arrives. It fails
// if the payload is too long, or the other side's ephemeral key of low order.
func (q *Request) Accept(p *Peer, payload []byte, now time.Time) (response []byte, err error) {
	if len(payload) > MaxPayload {
		return nil, errPayload(payload)
	}
	reserved := p.table.reserve(p)
	response, err = q.handshake.WriteMessage(newResponse(reserved.local, q.sender), append([]byte{accepted}, payload...))
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

// Refuse returns a response that says why there is no session, and Behind one that
// tells who asks that its clock is behind a time. Nobody else can read them. They
// are nil if the other side's ephemeral key was of low order.
func (q *Request) Refuse(why Rejected) (response []byte) {
	return q.deny(why.Append([]byte{refused}))
}

func (q *Request) Behind(time uint64) (response []byte) {
	return q.deny(appendTime([]byte{behind}, time))
}

// deny answers with a message without keys: its index is 0.
func (q *Request) deny(payload []byte) []byte {
	m, err := q.handshake.WriteMessage(newResponse(0, q.sender), payload)
	if err != nil {
		return nil
	}
	return m
}
