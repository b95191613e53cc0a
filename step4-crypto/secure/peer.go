package secure

import (
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"stepvpn/shared/link"
)

// A peer is the other side, as one side sees it: the keys shared with it, its
// address, and what is to be done when. It does no input or output and reads no
// clock. Messages go in by receive, packets to send get their keys from sending,
// and tick does what is due; what these return is to be sent.
//
// New keys come into use by one rule on both sides: they wait in the slot "next"
// until the first packet under them arrives. Only then this side seals under
// them, for only then the other side is known to have them too. The old keys
// still open what is on the way. So a rekey loses no packet, whatever the network
// does to the handshake. The client, who gets the new keys last, sends the first
// packet under them, a keepalive; the server answers with another.
//
// It is safe for concurrent use. Packets are sealed and opened without its lock.
type peer struct {
	cfg       *Config
	client    bool
	responder *responder         // of a server that has one peer; else nil
	names     names              // of sessions
	log       *slog.Logger       // where to say what happens
	wake      func(at time.Time) // asks for a call of tick; called with mu held
	// changed is told each change of addr; called with mu held.
	changed func(before, now netip.AddrPort)

	keys atomic.Pointer[keyring] // replaced with mu held, read without

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

// newPeer returns a peer without keys. A client asks for some on its first tick,
// which it calls for at once.
func newPeer(cfg *Config, client bool, now time.Time, wake func(at time.Time)) *peer {
	p := &peer{cfg: cfg, client: client, wake: wake, log: slog.Default(), changed: func(_, _ netip.AddrPort) {}}
	p.names = names{p.newIndex, func(uint32) {}}
	p.initiator.cfg = cfg
	p.keys.Store(&keyring{})
	if client {
		p.initiator.begin(now)
		p.schedule(now)
	} else {
		p.responder = &responder{cfg: cfg}
	}
	return p
}

// receive takes a message that came from an address. It returns the IP packet
// or the control message that was inside, decrypted in place, and the message to
// send back to that address; each is nil if there is none. What it drops, it
// counts.
func (p *peer) receive(m []byte, from netip.AddrPort, now time.Time) (inside, reply []byte) {
	if d, ok := parseData(m); ok {
		return p.open(d, from, now)
	}
	if i, ok := parseInitiation(m); ok && p.responder != nil {
		return nil, p.answer(i, now)
	}
	if r, ok := parseResponse(m); ok && p.client {
		return nil, p.finish(r, now)
	}
	p.cfg.Drops.Add(BadMessage)
	return nil, nil
}

func (p *peer) open(d data, from netip.AddrPort, now time.Time) (inside, reply []byte) {
	s := p.keys.Load().find(d.receiver)
	if s == nil || s.expired(now) {
		p.cfg.Drops.Add(UnknownIndex)
		return nil, nil
	}
	plaintext, ok := s.open(d)
	if !ok {
		return nil, nil
	}
	c := contentOf(plaintext)
	reply = p.heard(s, d.counter, c, from, now)
	switch c {
	case packet, control:
		return plaintext, reply
	case closing:
		p.closed(s, plaintext, now)
	case unknown:
		p.cfg.Drops.Add(link.Malformed)
	}
	return nil, reply
}

// heard notes that a packet was opened with the keys s. It returns the reply.
func (p *peer) heard(s *session, counter uint64, c content, from netip.AddrPort, now time.Time) (reply []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s == p.keys.Load().next {
		p.confirm(from, now)
		if !p.client {
			reply = p.keepalive(s, now)
		}
	}
	p.unanswered, p.lastHeard = time.Time{}, now
	if c == packet && p.owed.IsZero() {
		p.owed = now
		p.schedule(now.Add(replyWithin))
	}
	if s != p.keys.Load().current {
		return reply
	}
	// A packet that was overtaken says where the other side was, not where it is.
	if counter >= p.newest {
		p.newest = counter + 1
		p.moveTo(from, now)
	}
	p.wear(counter+1, now)
	return reply
}

// confirm takes the next keys into use.
func (p *peer) confirm(from netip.AddrPort, now time.Time) {
	old := p.keys.Load()
	if old.current == nil || p.lost {
		p.log.Info("connected", "peer", from)
	} else {
		p.log.Debug("new keys are in use")
	}
	p.setKeys(&keyring{previous: old.current, current: old.next})
	p.retire = now.Add(keepPrevious)
	p.newest, p.worn = 0, time.Time{}
	p.connected, p.lost = now, false
	p.initiator.done()
	p.schedule(p.nextWake())
}

// moveTo notes the address that the other side sends from.
func (p *peer) moveTo(addr netip.AddrPort, now time.Time) {
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
func (p *peer) setAddr(addr netip.AddrPort) {
	before := p.addr
	p.addr = addr
	if before != addr {
		p.changed(before, addr)
	}
}

// closed ends the session, because the other side does, with the message m under
// the keys s. A close under keys that have been replaced ends nothing.
func (p *peer) closed(s *session, m []byte, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s != p.keys.Load().current {
		return
	}
	r, _ := parseClose(m)
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
}

// forget drops all keys, and what belongs to them.
func (p *peer) forget() {
	p.setKeys(&keyring{})
	p.setAddr(netip.AddrPort{})
	p.unanswered, p.owed, p.worn, p.retire = time.Time{}, time.Time{}, time.Time{}, time.Time{}
}

// sending returns the keys to seal packets under, and the address to send them
// to. It returns nil when there are no keys. The packets count as sent.
func (p *peer) sending(now time.Time) (*session, netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.keys.Load().current
	if s == nil || s.expired(now) {
		return nil, netip.AddrPort{}
	}
	p.sent, p.owed = now, time.Time{}
	if p.client && p.unanswered.IsZero() {
		p.unanswered = now
		p.schedule(now.Add(silenceLimit))
	}
	p.wear(s.counter.Load(), now)
	return s, p.addr
}

// wear notes that the current keys have been used for a number of packets by one
// side.
func (p *peer) wear(packets uint64, now time.Time) {
	if p.client && packets >= p.cfg.limits.rekeyPackets && p.worn.IsZero() {
		p.worn = now
		p.schedule(now)
	}
}

// answer returns the response to an initiation, or nil. Its keys become the next
// ones, in place of any that are waiting there.
func (p *peer) answer(m initiation, now time.Time) []byte {
	reply, s, ok := p.responder.answer(m, p.names.take(), now)
	if !ok {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setNext(s)
	return reply
}

// finish takes a response. It returns the first packet under the new keys.
func (p *peer) finish(m response, now time.Time) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.initiator.finish(m, now)
	if !ok {
		p.schedule(p.nextWake())
		return nil
	}
	p.setNext(s)
	return p.keepalive(s, now)
}

func (p *peer) setNext(s *session) {
	old := p.keys.Load()
	p.setKeys(&keyring{previous: old.previous, current: old.current, next: s})
	p.schedule(p.nextWake())
}

// setKeys replaces the keyring, and frees the names of the sessions that go.
func (p *peer) setKeys(keys *keyring) {
	old := p.keys.Swap(keys)
	for _, s := range old.all() {
		if s != nil && keys.find(s.local) == nil {
			p.names.free(s.local)
		}
	}
}

// keepalive returns an empty packet under the keys s, or nil if they are worn out.
func (p *peer) keepalive(s *session, now time.Time) []byte {
	p.sent, p.owed = now, time.Time{}
	m, _ := s.seal(nil, nil)
	return m
}

// names gives sessions their indices. Who has many peers needs them to be
// unique over all of these.
type names struct {
	take func() uint32
	free func(index uint32)
}

// newIndex returns a name that no session of this peer has.
func (p *peer) newIndex() uint32 {
	keys := p.keys.Load()
	for {
		index := rand.Uint32()
		if keys.find(index) == nil {
			return index
		}
	}
}

// status returns the other side's address, and when the current keys came into
// use. Both are zero if there is no session.
func (p *peer) status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys.Load().current == nil {
		return Status{Lost: p.lost}
	}
	return Status{Peer: p.addr, Since: p.connected, Heard: p.lastHeard, Lost: p.lost}
}
