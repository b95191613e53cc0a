package secure

import (
	"net/netip"
	"time"
)

// A keyring holds the keys that one side shares with the other at one moment. It is
// never modified, only replaced, so a reader needs no lock.
//
//	handshake ──> next ──(a packet arrives under it)──> current ──> previous ──(30 s)──> gone
type keyring struct {
	previous *keypair // opens packets that were on the way when the keys changed
	current  *keypair // seals and opens
	next     *keypair // made by a handshake; nothing has arrived under it yet
}

// all returns the three slots. Empty ones are nil.
func (k *keyring) all() [3]*keypair { return [...]*keypair{k.current, k.previous, k.next} }

// has reports whether s is one of the three.
func (k *keyring) has(s *keypair) bool { return s == k.current || s == k.previous || s == k.next }

// without returns a keyring in which the slots are empty for which drop returns true.
func (k *keyring) without(drop func(*keypair) bool) *keyring {
	keep := func(s *keypair) *keypair {
		if s == nil || drop(s) {
			return nil
		}
		return s
	}
	return &keyring{keep(k.previous), keep(k.current), keep(k.next)}
}

// setNext puts s, which has the index of reserved, in the slot next.
func (p *Peer) setNext(reserved, s *keypair) {
	p.table.replace(reserved, s)
	old := p.keys.Load()
	p.setKeys(&keyring{previous: old.previous, current: old.current, next: s})
	p.schedule(p.nextWake())
}

// confirm puts the next keys into use.
func (p *Peer) confirm(from netip.AddrPort, now time.Time) {
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

// setKeys replaces the keyring. Keypairs that are no longer in it are removed from the
// table.
func (p *Peer) setKeys(keys *keyring) {
	old := p.keys.Swap(keys)
	for _, s := range old.all() {
		if !keys.has(s) {
			p.table.remove(s)
		}
	}
}
