package secure

import (
	"net/netip"
	"time"

	"stepvpn/shared/link"
)

// This file opens the messages that come by a socket: handshakes, packets, and control
// messages. The lock of a keypair is held over a run of messages under it, and its peer's
// lock is taken once at the end of the run.

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
			return Opened{Reply: s.peer.finish(s, r, from, now)}
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
	in.Kind, in.Control, in.Content = s.peer.cfg.Format.contentOf(plaintext)
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
