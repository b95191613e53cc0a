package secure

import (
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A Peer is what one side knows about the other: the keys that they share, the other
// side's address, and what has to be done when. It uses no socket and reads no clock.
// An Opener passes on what arrives, Sending returns the keys for packets to send,
// and Tick does what is due; the caller sends the messages that they return.
//
// New keys come into use by one rule on both sides: they wait in the slot "next" until
// the first packet under them arrives. Only then does this side seal under them, because
// only then is the other side known to have them, too. The old keys still open packets
// that are on the way. So a rekey loses no packet, whatever the network does to the
// handshake. The client, which gets the new keys last, sends the first packet under
// them, a keepalive; the server answers with another.
//
// It is safe for concurrent use. Its lock is taken once for a burst in each
// direction, and IP packets are sealed and opened without it.
type Peer struct {
	cfg    *Config
	client bool
	table  *Table
	owner  Owner
	log    *slog.Logger

	keys atomic.Pointer[keyring] // mu must be held to replace it, but not to read it
	mtu  atomic.Int64            // packets are not padded beyond it

	mu        sync.Mutex // guards all below
	initiator initiator  // used by a client
	addr      netip.AddrPort
	newest    uint64    // the highest counter that arrived under the current keys, plus 1
	connected time.Time // when the current keys came into use; stays when they end
	lastHeard time.Time // when an authentic message last arrived
	moved     time.Time // when a change of addr was last logged
	lost      bool      // the server is thought to be gone
	rejected  *Rejected // the server has said that this is the end

	// A zero time means that there is nothing to do.
	wakeAt     time.Time // the time that Wake was last asked for
	retire     time.Time // when to drop the previous keys
	worn       time.Time // when the current keys had been used for enough packets
	sent       time.Time // when anything was last sent
	unanswered time.Time // when the first packet was sent since anything was received
	owed       time.Time // when the first packet was received since anything was sent
}

// An Owner is the object that a Peer belongs to: a Conn, or in step 7 a client of the
// hub. Its methods are called with the Peer's lock held, so they must not call the Peer,
// and they must not block.
type Owner interface {
	// Wake asks for a call of Tick at the given time. Each call replaces the one before.
	Wake(at time.Time)
	// Moved gives the peer's address before and now. The zero address means that there
	// was or is no session.
	Moved(before, now netip.AddrPort)
}

// NewPeer returns a Peer for one client of a server, without keys yet; Request.Accept
// gives it keys. Its keypairs are kept in table.
func (r *Responder) NewPeer(table *Table, owner Owner, log *slog.Logger) *Peer {
	return newPeer(r.cfg, table, owner, log, false)
}

// newClient returns a client's Peer, which stands for the server. It asks for keys on
// its first Tick, which it requests at once.
func newClient(cfg *Config, table *Table, owner Owner, now time.Time) *Peer {
	p := newPeer(cfg, table, owner, slog.Default(), true)
	p.initiator.cfg = cfg
	p.initiator.begin(now)
	p.schedule(now)
	return p
}

func newPeer(cfg *Config, table *Table, owner Owner, log *slog.Logger, client bool) *Peer {
	p := &Peer{cfg: cfg, client: client, table: table, owner: owner, log: log}
	p.keys.Store(&keyring{})
	p.SetMTU(cfg.MTU)
	return p
}

// Owner returns the Owner of the Peer.
func (p *Peer) Owner() Owner { return p.owner }

// SetMTU sets the length in bytes of the longest packet that the path carries. Padding
// does not exceed it, because a longer packet would be fragmented or lost.
func (p *Peer) SetMTU(mtu int) { p.mtu.Store(int64(mtu)) }

// hear notes what has been opened with the keys s. It returns the reply, or nil.
func (p *Peer) hear(s *keypair, h heard, now time.Time) (reply []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s == p.keys.Load().next {
		p.confirm(h.from, now)
		if !p.client && p.cfg.Format == nil { // in a Format, the client does not wait for it
			reply = p.keepalive(s, now)
		}
	}
	p.unanswered, p.lastHeard = time.Time{}, now
	if h.packet && p.owed.IsZero() {
		p.owed = now
		p.schedule(now.Add(p.cfg.limits.replyWithin))
	}
	if s != p.keys.Load().current {
		return reply
	}
	// A packet that was overtaken shows where the other side was, not where it is.
	if h.newest >= p.newest {
		p.newest = h.newest + 1
		p.moveTo(h.from, now)
	}
	p.wear(h.newest+1, now)
	return reply
}

// moveTo notes the address that the other side sends from.
func (p *Peer) moveTo(addr netip.AddrPort, now time.Time) {
	if p.addr == addr {
		return
	}
	// A peer that sends from two addresses in turn does not fill the log.
	if p.addr.IsValid() && now.Sub(p.moved) >= logMoveAfter {
		p.log.Info("the peer's address has changed", "peer", addr, "before", p.addr)
		p.moved = now
	}
	p.setAddr(addr)
}

// setAddr sets addr; the zero address means that there is no session any more.
func (p *Peer) setAddr(addr netip.AddrPort) {
	before := p.addr
	p.addr = addr
	if before != addr {
		p.owner.Moved(before, addr)
	}
}

// closed ends the session, because the other side has sent a close message under the
// keys s. It does nothing and returns false if these are not the current keys.
func (p *Peer) closed(s *keypair, content []byte, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s != p.keys.Load().current {
		return false
	}
	r, _ := parseClose(content)
	p.log.Info("the other side has closed the session", "peer", p.addr, "reason", r.Reason)
	p.forget()
	switch {
	case p.client && r.Final:
		p.rejected = &r
		p.schedule(now)
	case p.client:
		p.initiator.begin(now.Add(firstRetry)) // it may be about to restart
		p.schedule(p.nextWake())
	}
	return true
}

// forget drops all keys, the address, and the times that belong to them.
func (p *Peer) forget() {
	p.setKeys(&keyring{})
	p.setAddr(netip.AddrPort{})
	p.unanswered, p.owed, p.worn, p.retire = time.Time{}, time.Time{}, time.Time{}, time.Time{}
}

// Sending returns the keys to seal packets under now, and the address to send the
// packets to. Both are zero if there is no session. The packets count as sent.
func (p *Peer) Sending(now time.Time) (Keys, netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.keys.Load().current
	if s == nil || s.expired(now) {
		return Keys{}, netip.AddrPort{}
	}
	p.sent, p.owed = now, time.Time{}
	if p.client && p.unanswered.IsZero() {
		p.unanswered = now
		p.schedule(now.Add(p.cfg.limits.silence))
	}
	p.wear(s.counter.Load(), now)
	return Keys{s, int(p.mtu.Load())}, p.addr
}

// Control returns a control message and the address to send it to, or nil if there is
// no session, or a Format, which has no such messages. kind is FirstKind or higher.
func (p *Peer) Control(kind byte, content []byte, now time.Time) (message []byte, to netip.AddrPort) {
	if p.cfg.Format != nil {
		return nil, netip.AddrPort{}
	}
	keys, to := p.Sending(now)
	return keys.seal(appendControl(nil, kind, content)), to
}

// Close ends the session. It returns the message that tells the other side, or
// nil if there is no session, or a Format, which has no such message.
func (p *Peer) Close(why Rejected, now time.Time) (message []byte, to netip.AddrPort) {
	var content []byte
	if why != (Rejected{}) {
		content = why.Append(nil)
	}
	keys, to := p.Sending(now)
	p.mu.Lock()
	defer p.mu.Unlock()
	// The server has the next keys and may already use them. It would then ignore a
	// close message under the keys before as one that is late.
	if next := p.keys.Load().next; p.client && next != nil {
		keys.keypair = next
	}
	p.forget()
	if p.cfg.Format != nil {
		return nil, netip.AddrPort{}
	}
	return keys.seal(appendControl(nil, kindClose, content)), to
}

// wear notes that one side has used the current keys for a number of packets.
func (p *Peer) wear(packets uint64, now time.Time) {
	if p.client && packets >= p.cfg.limits.rekeyPackets && p.worn.IsZero() {
		p.worn = now
		p.schedule(now)
	}
}

// finish handles the response to the initiation that asked for reserved. It returns the
// first message under the new keys, or nil.
func (p *Peer) finish(reserved *keypair, m response, from netip.AddrPort, now time.Time) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.initiator.finish(reserved, m, now)
	if !ok {
		p.schedule(p.nextWake())
		return nil
	}
	p.setNext(reserved, s)
	if p.cfg.Format != nil {
		p.confirm(from, now)
		p.unanswered, p.lastHeard = time.Time{}, now
		p.moveTo(from, now)
	}
	return p.keepalive(s, now)
}

// keepalive returns an empty packet under the keys s, or nil if they are worn out.
func (p *Peer) keepalive(s *keypair, now time.Time) []byte {
	p.sent, p.owed = now, time.Time{}
	return Keys{keypair: s}.seal(nil)
}

// A Status is the state of the session with a peer. Peer, Since and Heard are zero if
// there is no session.
type Status struct {
	Peer  netip.AddrPort // the other side's address
	Since time.Time      // when the present keys came into use
	Heard time.Time      // when an authentic message last arrived
	Lost  bool           // a client has lost its session, and gets no answer when it asks for another
}

// Status returns the present state of the session.
func (p *Peer) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys.Load().current == nil {
		return Status{Lost: p.lost}
	}
	return Status{Peer: p.addr, Since: p.connected, Heard: p.lastHeard, Lost: p.lost}
}

// Alive reports whether there are keys in use, or new ones waiting to be used. Step 7 asks
// it whether a client is gone.
func (p *Peer) Alive() bool {
	keys := p.keys.Load()
	return keys.current != nil || keys.next != nil
}
