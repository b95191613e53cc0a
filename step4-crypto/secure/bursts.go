package secure

import (
	"net/netip"
	"time"

	"stepvpn/shared/link"
)

// This file turns bursts of packets into messages, and messages into packets again. A
// peer's lock is taken once for all packets of a burst, not for each.

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

// An Opened says what one message was.
type Opened struct {
	Kind Kind
	// Peer is the peer that sent the message; nil for None and Initiation.
	Peer *Peer
	// Content is the IP packet, or the content of the control message, or, for
	// Initiation, the whole message, with anything that follows the initiation in it.
	Content []byte
	Control byte // the kind of control message
	// Reply, unless nil, must be sent to the address that the message came from.
	Reply []byte
}

// An Opener opens the messages that come by one socket. It belongs to one
// goroutine; others may use the same Table.
type Opener struct {
	table  *Table
	drops  *link.Drops
	opened []Opened

	// A run of messages under one keypair, whose lock is held meanwhile.
	keypair *keypair
	heard   heard
}

// heard sums up what a peer has sent in a run of messages under the keys in use.
type heard struct {
	any    bool
	packet bool   // there was a packet
	newest uint64 // the highest counter
	from   netip.AddrPort
}

// NewOpener returns an Opener for the keypairs of a table. It counts the messages that
// it drops in drops.
func NewOpener(t *Table, drops *link.Drops) *Opener {
	return &Opener{table: t, drops: drops, opened: make([]Opened, 0, link.MaxBurst)}
}

// Open returns what each message of a burst was. Packets are decrypted in place. The
// result is valid until the next call.
func (o *Opener) Open(b *link.Burst, now time.Time) []Opened {
	o.opened = o.opened[:0]
	for i := range b.Len() {
		o.opened = append(o.opened, o.open(b.At(i), b.Addr, now))
	}
	o.endRun(now)
	return o.opened
}

// open opens one message.
func (o *Opener) open(m []byte, from netip.AddrPort, now time.Time) Opened {
	switch messageType(m) {
	case typeData:
		if d, ok := parseData(m); ok {
			return o.openData(d, from, now)
		}
	case typeInitiation:
		return Opened{Kind: Initiation, Content: m}
	case typeResponse:
		r, ok := parseResponse(m)
		if !ok {
			break
		}
		if s := o.table.find(r.receiver); s != nil && s.peer.client {
			o.endRun(now)
			return Opened{Reply: s.peer.finish(s, r, now)}
		}
		o.drops.Add(UnknownIndex)
		return Opened{}
	}
	o.drops.Add(BadMessage)
	return Opened{}
}

func (o *Opener) openData(d data, from netip.AddrPort, now time.Time) Opened {
	s := o.table.find(d.receiver)
	if s == nil || s.expired(now) {
		o.drops.Add(UnknownIndex)
		return Opened{}
	}
	if s != o.keypair {
		o.endRun(now)
		o.keypair = s
		s.mu.Lock()
	}
	plaintext, why, ok := s.open(d)
	if !ok {
		o.drops.Add(why)
		return Opened{}
	}
	in := Opened{Peer: s.peer}
	in.Kind, in.Control, in.Content = contentOf(plaintext)
	if in.Kind == None {
		in.Kind = Keepalive // it is authentic, so the other side is there
		o.drops.Add(link.Malformed)
	}
	h := &o.heard
	h.any, h.packet, h.newest, h.from = true, h.packet || in.Kind == Packet, max(h.newest, d.counter), from
	// A message that changes the peer's keys does so before the next one is opened.
	switch {
	case in.Kind == Closed:
		o.endRun(now)
		if !s.peer.closed(s, in.Content, now) {
			in.Kind = Keepalive
		}
	case s.peer.keys.Load().current != s:
		in.Reply = o.endRun(now)
	}
	return in
}

// endRun releases the keypair's lock and passes on to its peer what was heard.
func (o *Opener) endRun(now time.Time) (reply []byte) {
	s, h := o.keypair, o.heard
	if s == nil {
		return nil
	}
	o.keypair, o.heard = nil, heard{}
	s.mu.Unlock()
	if !h.any {
		return nil
	}
	return s.peer.hear(s, h, now)
}
