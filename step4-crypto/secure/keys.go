package secure

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
)

// This file seals and opens packets under a keypair, and changes from old keys to new ones
// (keyring).

// A keypair is two keys, one for each direction, made by one handshake. The other side
// has the same two keys, with the directions swapped.
//
// Several goroutines may seal at the same time. A goroutine that opens must hold mu.
type keypair struct {
	peer          *Peer
	local, remote uint32 // the indexes that this side and the other one gave it
	created       time.Time
	limit         uint64 // counters from here on are refused

	sending *noise.Cipher
	counter atomic.Uint64 // of the next packet to seal

	receiving *noise.Cipher // nil until the keys have been agreed on
	mu        sync.Mutex    // guards window; held while a run of packets is opened
	window    window
}

// newKeypair returns the keypair that a completed handshake has produced. reserved is a
// keypair without keys, which has held the index for it since the handshake began (see
// Table.reserve).
func newKeypair(h *noise.Handshake, reserved *keypair, remote uint32, now time.Time) (*keypair, error) {
	sending, receiving, err := h.Split()
	if err != nil {
		return nil, err
	}
	sending, receiving = reserved.peer.cfg.Format.ciphers(sending, receiving)
	return &keypair{
		peer:      reserved.peer,
		local:     reserved.local,
		remote:    remote,
		created:   now,
		limit:     reserved.peer.cfg.limits.rejectPackets,
		sending:   sending,
		receiving: receiving,
	}, nil
}

// expired reports whether the keys are too old to be used, or not there yet.
func (s *keypair) expired(now time.Time) bool {
	return s.receiving == nil || now.Sub(s.created) >= rejectAfterTime
}

// seal appends a data message to dst that contains plaintext, padded with zeros to length
// bytes if it is shorter; plaintext must not overlap dst. If the keys are worn out, it
// returns dst as it was and false, because a counter must not be used twice. It allocates
// nothing if dst has room for length + Overhead bytes. It may be called from any goroutine.
//
//exercise:2
func (s *keypair) seal(dst, plaintext []byte, length int) ([]byte, bool) {
	counter := s.counter.Add(1) - 1 // no other goroutine can get the same one
	// The counter goes on while it is refused: to come back to 0 would take 2^64 refusals, centuries.
	if counter >= s.limit {
		return dst, false
	}
	start := len(dst)
	dst = appendDataHeader(dst, s.remote, counter)
	header := dst[start:]
	if length > len(plaintext) {
		// The memory after plaintext may hold the next packet, so no zeros can be
		// written there: plaintext is copied to dst, padded there, and sealed in place.
		inside := append(dst, plaintext...)
		inside = append(inside, zeros[:length-len(plaintext)]...)
		plaintext = inside[len(dst):]
	}
	return s.sending.Seal(dst, counter, header, plaintext), true
}

var zeros [16]byte // padding is shorter than this

// open returns the content of d, decrypted in place, or the reason why d is dropped:
// NoSession if its counter is not below limit, Replayed, or BadTag. A replay costs no
// decryption, and a packet that is dropped changes nothing. The caller must hold mu.
//
//exercise:3
func (s *keypair) open(d data) (plaintext []byte, why link.Reason, ok bool) {
	if d.counter >= s.limit {
		return nil, NoSession, false
	}
	// Check the window before decrypting, so that a replay costs no decryption. Mark
	// the counter only afterwards, so that a forged packet does not move the window.
	if !s.window.fresh(d.counter) {
		return nil, Replayed, false
	}
	plaintext, err := s.receiving.Open(d.sealed[:0], d.counter, d.header, d.sealed)
	if err != nil {
		return nil, BadTag, false
	}
	s.window.mark(d.counter)
	return plaintext, 0, true
}

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

// setNext puts s in the slot next, in the place of what is there: s can open packets from
// now on, and seals none yet. The table finds s by its index, which was that of reserved.
// The caller must hold mu.
//
//exercise:4
func (p *Peer) setNext(reserved, s *keypair) {
	p.table.replace(reserved, s)
	old := p.keys.Load()
	p.setKeys(&keyring{previous: old.previous, current: old.current, next: s})
	p.schedule(p.nextWake())
}

// confirm puts the next keys into use, because a packet has arrived under them. The
// current ones become the previous ones, until limits.keepPrevious from now. For the new keys,
// newest, worn and connected begin anew; and this side is not looking for the other one any
// more (lost, initiator). The caller must hold mu.
//
//exercise:4
func (p *Peer) confirm(from netip.AddrPort, now time.Time) {
	old := p.keys.Load()
	if old.current == nil || p.lost {
		p.log.Info("connected", "peer", from)
	} else {
		p.log.Debug("new keys are in use")
	}
	p.setKeys(&keyring{previous: old.current, current: old.next})
	p.retire = now.Add(p.cfg.limits.keepPrevious)
	p.newest, p.worn = 0, time.Time{}
	p.connected, p.lost = now, false
	p.initiator.done()
	p.schedule(p.nextWake())
}

// setKeys replaces the keyring. Keypairs that are no longer in it are removed from the
// table. The caller must hold mu.
//
//exercise:4
func (p *Peer) setKeys(keys *keyring) {
	old := p.keys.Swap(keys)
	for _, s := range old.all() {
		if !keys.has(s) {
			p.table.remove(s)
		}
	}
}
