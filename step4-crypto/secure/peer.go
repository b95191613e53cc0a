package secure

import (
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// An Owner is who has a Peer. It is called with the Peer's lock held, so it must
// not call the Peer, and it must not block.
type Owner interface {
	// Wake asks for a call of Tick at a time. A later call replaces an earlier one.
	Wake(at time.Time)
	// Moved says where the peer was and is now. The zero address stands for nowhere:
	// there is no session.
	Moved(before, now netip.AddrPort)
}

// A Peer is what one side knows of the other: the keys shared with it, its address,
// and what is to be done when. It does no input or output and reads no
// clock. What arrives comes to it by an Opener, packets to send get their keys from
// Sending, and Tick does what is due; what these return is to be sent.
//
// New keys come into use by one rule on both sides: they wait in the slot "next"
// until the first packet under them arrives. Only then this side seals under
// them, for only then the other side is known to have them too. The old keys
// still open what is on the way. So a rekey loses no packet, whatever the network
// does to the handshake. The client, who gets the new keys last, sends the first
// packet under them, a keepalive; the server answers with another.
//
// It is safe for concurrent use. Its lock is taken once for a burst in each
// direction, and IP packets are sealed and opened without it.
type Peer struct {
	cfg    *Config
	client bool
	table  *Table
	owner  Owner
	log    *slog.Logger // where to say what happens

	keys atomic.Pointer[keyring] // replaced with mu held, read without
	mtu  atomic.Int64            // packets are not padded beyond it

	mu        sync.Mutex // guards all below
	initiator initiator  // used by a client
	addr      netip.AddrPort
	newest    uint64    // the highest counter that arrived under the current keys, plus 1
	connected time.Time // when the current keys came into use; stays when they end
	lastHeard time.Time // when something authentic arrived last
	moved     time.Time // when the log told a change of addr last
	lost      bool      // the server is thought to be gone
	rejected  *Rejected // the server has said that this is the end

	// Zero where there is nothing to be done.
	wakeAt     time.Time // when tick has been asked for
	retire     time.Time // when to drop the previous keys
	worn       time.Time // when the current keys had been used for enough packets
	sent       time.Time // when anything was sent last
	unanswered time.Time // when a packet was sent, and nothing received since
	owed       time.Time // when a packet was received, and nothing sent since
}

// NewPeer returns a Peer for one client of a server, without keys yet. Request.Accept
// gives it some. Its keypairs stand in table.
func (r *Responder) NewPeer(table *Table, owner Owner, log *slog.Logger) *Peer {
	return newPeer(r.cfg, table, owner, log, false)
}

// newClient returns a Peer that is the server, for a client. It asks for keys on its
// first Tick, which it calls for at once.
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

// Owner returns who has the Peer.
func (p *Peer) Owner() Owner { return p.owner }

// SetMTU says how long a packet the path carries, in bytes. Padding does not exceed
// it, for what is too long would be cut up or lost.
func (p *Peer) SetMTU(mtu int) { p.mtu.Store(int64(mtu)) }

// hear takes what has been opened with the keys s. It returns the reply.
func (p *Peer) hear(s *keypair, h heard, now time.Time) (reply []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s == p.keys.Load().next {
		p.confirm(h.from, now)
		if !p.client {
			reply = p.keepalive(s, now)
		}
	}
	p.unanswered, p.lastHeard = time.Time{}, now
	if h.packet && p.owed.IsZero() {
		p.owed = now
		p.schedule(now.Add(replyWithin))
	}
	if s != p.keys.Load().current {
		return reply
	}
	// A packet that was overtaken says where the other side was, not where it is.
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

// setAddr sets addr, to zero if there is no session any more.
func (p *Peer) setAddr(addr netip.AddrPort) {
	before := p.addr
	p.addr = addr
	if before != addr {
		p.owner.Moved(before, addr)
	}
}

// closed ends the session, because the other side does, by a close message under
// the keys s. It reports false if those have been replaced: then it ends nothing.
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

// forget drops all keys, and what belongs to them.
func (p *Peer) forget() {
	p.setKeys(&keyring{})
	p.setAddr(netip.AddrPort{})
	p.unanswered, p.owed, p.worn, p.retire = time.Time{}, time.Time{}, time.Time{}, time.Time{}
}

// Sending returns the keys to seal packets under now, and the address to send them
// to. Both are zero if there are none. The packets count as sent.
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
		p.schedule(now.Add(silenceLimit))
	}
	p.wear(s.counter.Load(), now)
	return Keys{s, int(p.mtu.Load())}, p.addr
}

// Control returns a control message of a kind from FirstKind on, and where to
// send it; nil if there is no session.
func (p *Peer) Control(kind byte, content []byte, now time.Time) (message []byte, to netip.AddrPort) {
	keys, to := p.Sending(now)
	return keys.seal(appendControl(nil, kind, content)), to
}

// Close ends the session. It returns the message that tells the other side, or
// nil if there is no session.
func (p *Peer) Close(why Rejected, now time.Time) (message []byte, to netip.AddrPort) {
	var content []byte
	if why != (Rejected{}) {
		content = why.Append(nil)
	}
	keys, to := p.Sending(now)
	p.mu.Lock()
	defer p.mu.Unlock()
	// The server has made the next keys. It may use them already, and then it takes a
	// close under those before for a late one.
	if next := p.keys.Load().next; p.client && next != nil {
		keys.keypair = next
	}
	p.forget()
	return keys.seal(appendControl(nil, kindClose, content)), to
}

// wear notes that the current keys have been used for a number of packets by one
// side.
func (p *Peer) wear(packets uint64, now time.Time) {
	if p.client && packets >= p.cfg.limits.rekeyPackets && p.worn.IsZero() {
		p.worn = now
		p.schedule(now)
	}
}

// finish takes the response to the initiation that asked for reserved. It returns
// the first packet under the new keys.
func (p *Peer) finish(reserved *keypair, m response, now time.Time) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.initiator.finish(reserved, m, now)
	if !ok {
		p.schedule(p.nextWake())
		return nil
	}
	p.setNext(reserved, s)
	return p.keepalive(s, now)
}

// keepalive returns an empty packet under the keys s, or nil if they are worn out.
func (p *Peer) keepalive(s *keypair, now time.Time) []byte {
	p.sent, p.owed = now, time.Time{}
	return Keys{keypair: s}.seal(nil)
}

// A Status is how the session with a peer stands. Peer and Since are zero if there is none.
type Status struct {
	Peer  netip.AddrPort // the other side's address
	Since time.Time      // when the present keys came into use
	Heard time.Time      // when something authentic came last
	Lost  bool           // a client that had a session asks for another, and gets no answer
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

// Alive reports whether there are keys, or the promise of some.
func (p *Peer) Alive() bool {
	keys := p.keys.Load()
	return keys.current != nil || keys.next != nil
}
