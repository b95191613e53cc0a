package secure

import (
	"log/slog"
	"net/netip"
	"time"

	"stepvpn/step4-crypto/noise"
)

// Who has many peers on one socket does not use Conn, but these parts of it: a
// Responder, which tells who asks for a session, and a Peer for each who gets
// one. They do no input or output. The owner finds out for which Peer a message
// is, by the index in it.

// A Responder reads the initiations that come to a server with many peers. It
// keeps nothing: to drop copies and to bound the work is the owner's part. It is
// safe for concurrent use.
type Responder struct{ cfg *Config }

// NewResponder returns a Responder. Of cfg it uses Handshake and Drops.
func NewResponder(cfg Config) (*Responder, error) {
	full, err := cfg.complete(false)
	if err != nil {
		return nil, err
	}
	return &Responder{full}, nil
}

// Read authenticates an initiation, at the cost of some X25519 operations. If it
// is not authentic it counts that, and reports false.
func (r *Responder) Read(m []byte) (*Request, bool) {
	i, ok := parseInitiation(m)
	if !ok {
		r.cfg.Drops.Add(BadMessage)
		return nil, false
	}
	q, err := readRequest(r.cfg, i)
	if err != nil {
		r.cfg.Drops.Add(BadTag)
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

// Payload returns what the initiation carried. It may be a copy of an earlier
// one: the sender has not proven yet that it is there now.
func (q *Request) Payload() []byte { return q.payload }

// Accept gives p the keys that come of the request, and returns the response to
// send. p takes them into use when the first packet under them arrives.
func (q *Request) Accept(p *Peer, payload []byte, now time.Time) (response []byte, err error) {
	if len(payload) > MaxPayload {
		return nil, errPayload(payload)
	}
	local := p.names.take()
	response, s, err := q.accept(local, payload, now)
	if err != nil {
		p.names.free(local)
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setNext(s)
	return response, nil
}

// Refuse returns a response that carries a payload, and makes no session. Only
// who made the initiation can read it. The session index in it is 0.
func (q *Request) Refuse(payload []byte) (response []byte, err error) {
	if len(payload) > MaxPayload {
		return nil, errPayload(payload)
	}
	return q.handshake.WriteMessage(newResponse(0, q.sender), payload)
}

// An Owner is what a Peer needs of who has it. All functions are called with the
// Peer's lock held: they must not call the Peer.
type Owner struct {
	// Wake asks for a call of Tick at a time. A later call replaces an earlier one.
	Wake func(at time.Time)
	// TakeIndex returns an index that no session of the owner has, other than 0,
	// and FreeIndex takes one back.
	TakeIndex func() uint32
	FreeIndex func(index uint32)
	// Moved, if set, is told where the peer was and is now, as a link.PeerKeeper is.
	Moved func(before, now netip.AddrPort)
	// Log is where the Peer says what happens to it.
	Log *slog.Logger
}

// A Peer is one of many clients of a server: the keys shared with it, and its
// address. It is safe for concurrent use; packets are sealed and opened without
// a lock that is held for long.
type Peer struct{ peer }

// NewPeer returns a Peer that has no keys yet. Request.Accept gives it some.
func (r *Responder) NewPeer(o Owner) *Peer {
	p := &Peer{peer{cfg: r.cfg, wake: o.Wake, log: o.Log, names: names{o.TakeIndex, o.FreeIndex}, changed: o.Moved}}
	if p.changed == nil {
		p.changed = func(_, _ netip.AddrPort) {}
	}
	p.keys.Store(&keyring{})
	return p
}

// Index returns the index of the session that m is for. It reports false if m is
// not a data message.
func Index(m []byte) (index uint32, ok bool) {
	d, ok := parseData(m)
	return d.receiver, ok
}

// IsInitiation reports whether m has the form of an initiation.
func IsInitiation(m []byte) bool {
	_, ok := parseInitiation(m)
	return ok
}

// Receive takes a data message that came from an address. It returns the IP
// packet or the control message that was inside, decrypted in place, and a
// message to send back to that address; each is nil if there is none. What it
// drops, it counts.
func (p *Peer) Receive(m []byte, from netip.AddrPort, now time.Time) (inside, reply []byte) {
	d, ok := parseData(m)
	if !ok {
		p.cfg.Drops.Add(BadMessage)
		return nil, nil
	}
	return p.open(d, from, now)
}

// Tick does what is due. It returns a message to send, if there is one, and asks
// for its next call by itself.
func (p *Peer) Tick(now time.Time) (message []byte, to netip.AddrPort) {
	message, to, _ = p.tick(now) // only a client's fails
	return message, to
}

// Keys are those to seal packets under at one moment. The zero value is none.
type Keys struct{ s *session }

// Seal appends to dst the data message with plaintext in it. It reports false if
// there are no keys, or if they are worn out. It allocates nothing if dst has
// room for Overhead bytes more than plaintext has.
func (k Keys) Seal(dst, plaintext []byte) ([]byte, bool) {
	if k.s == nil {
		return dst, false
	}
	return k.s.seal(dst, plaintext)
}

// Sending returns the keys for packets that are sent now, and where to send them.
func (p *Peer) Sending(now time.Time) (Keys, netip.AddrPort) {
	s, to := p.sending(now)
	return Keys{s}, to
}

// Control returns a control message of a kind from FirstKind on, and where to
// send it; nil if there is no session.
func (p *Peer) Control(kind byte, content []byte, now time.Time) (message []byte, to netip.AddrPort) {
	keys, to := p.Sending(now)
	message, ok := keys.Seal(nil, append([]byte{0, kind}, content...))
	if !ok {
		return nil, netip.AddrPort{}
	}
	return message, to
}

// Close ends the session. It returns the message that tells the other side, or
// nil if there is no session.
func (p *Peer) Close(why Rejected, now time.Time) (message []byte, to netip.AddrPort) {
	keys, to := p.Sending(now)
	message, ok := keys.Seal(nil, appendClose(nil, why))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget()
	if !ok {
		return nil, netip.AddrPort{}
	}
	return message, to
}

// Status returns the present state of the session.
func (p *Peer) Status() Status { return p.status() }

// Alive reports whether there are keys, or the promise of some.
func (p *Peer) Alive() bool {
	keys := p.keys.Load()
	return keys.current != nil || keys.next != nil
}
