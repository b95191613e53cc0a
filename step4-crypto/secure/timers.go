package secure

import (
	"fmt"
	"net/netip"
	"time"
)

// This file does what a peer does by itself: the client's handshakes, keepalives, and
// dropping old keys. Each of them has a method that says when it is due next, and Tick
// does what is due.

// Tick does what is due. It returns a message to send, if there is one. The error says
// why a client's first connection has failed, or that the server has ended the session;
// it is final.
//
// More may be due when Tick returns: it calls Owner.Wake to get its next call.
func (p *Peer) Tick(now time.Time) (message []byte, to netip.AddrPort, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if due(p.expiryAt(), now) {
		p.expire(now)
	}
	switch {
	case p.rejected != nil:
		err = fmt.Errorf("the server has ended the session: %w", p.rejected)
	case due(p.keepaliveAt(), now):
		message = p.keepalive(p.keys.Load().current, now)
	case due(p.handshakeAt(), now):
		message, err = p.handshake(now)
	}
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	p.wakeAt = time.Time{}
	p.schedule(p.nextWake())
	return message, p.addr, nil
}

// schedule asks for a call of Tick at the given time, unless an earlier one is already
// scheduled. An early call does no harm, so nothing is cancelled if its reason
// disappears, for example because an answer has arrived. That keeps the timer out of the
// data path: it is set once every few seconds, not with every packet.
func (p *Peer) schedule(at time.Time) {
	if at.IsZero() || !p.wakeAt.IsZero() && !at.Before(p.wakeAt) {
		return
	}
	p.wakeAt = at
	p.owner.Wake(at)
}

// nextWake returns when Tick is next needed.
func (p *Peer) nextWake() time.Time {
	return earliest(p.expiryAt(), p.keepaliveAt(), p.handshakeAt())
}

// keepaliveAt returns when a keepalive is due: a side that has received packets and has
// none to send shows the other side that it is there, and a client keeps its entries in
// the NATs on the way alive.
func (p *Peer) keepaliveAt() (at time.Time) {
	if p.keys.Load().current == nil {
		return at
	}
	at = after(p.owed, p.cfg.limits.replyWithin)
	if p.client && p.cfg.Keepalive > 0 {
		at = earliest(at, after(p.sent, p.cfg.Keepalive))
	}
	return at
}

// handshakeAt returns when the client must send an initiation: the next one of a
// handshake in progress, or one for new keys, because the current ones are old or worn
// out, or because the server is silent.
func (p *Peer) handshakeAt() (at time.Time) {
	current := p.keys.Load().current
	switch {
	case !p.client:
		return at
	case p.initiator.active:
		return p.initiator.retry
	case current == nil: // it has been closed
		return at
	}
	return earliest(p.worn, after(current.created, p.cfg.limits.rekeyTime), after(p.unanswered, p.cfg.limits.silence))
}

// handshake returns an initiation, or the error that ends the session.
func (p *Peer) handshake(now time.Time) (message []byte, err error) {
	if !p.initiator.active {
		p.initiator.begin(now)
	}
	if err := p.initiator.refused; err != nil {
		return nil, err
	}
	if p.connected.IsZero() {
		if err := p.initiator.gaveUp(); err != nil {
			return nil, err
		}
	} else if p.initiator.tries == lostTries {
		p.log.Info("no answer from the server, still trying")
		p.lost = true
	}
	p.sent = now
	p.table.remove(p.initiator.reserved) // which does nothing if it is in use by now
	return p.initiator.initiate(p.table.reserve(p), now)
}

// expiryAt returns when keys must be dropped.
func (p *Peer) expiryAt() time.Time {
	at := p.retire
	for _, s := range p.keys.Load().all() {
		if s != nil {
			at = earliest(at, s.created.Add(rejectAfterTime))
		}
	}
	return at
}

// expire drops the keys that are too old.
func (p *Peer) expire(now time.Time) {
	old := p.keys.Load()
	keys := old.without(func(s *keypair) bool {
		return s.expired(now) || s == old.previous && due(p.retire, now)
	})
	if keys.previous == nil {
		p.retire = time.Time{}
	}
	p.setKeys(keys)
	if old.current != nil && keys.current == nil {
		p.log.Info("the session has ended: no new keys came in time", "peer", p.addr)
		p.setAddr(netip.AddrPort{})
		if p.client && !p.initiator.active {
			p.initiator.begin(now) // the host was suspended
		}
	}
}

// due reports whether a time has come. The zero time is never due.
func due(at, now time.Time) bool { return !at.IsZero() && !at.After(now) }

// after returns t + d, or zero if t is zero.
func after(t time.Time, d time.Duration) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(d)
}

// earliest returns the earliest of the times that are not zero, or zero.
func earliest(times ...time.Time) (first time.Time) {
	for _, t := range times {
		if first.IsZero() || !t.IsZero() && t.Before(first) {
			first = t
		}
	}
	return first
}
