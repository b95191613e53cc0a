package secure

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
	"sync/atomic"
)

// A Table is the index table: it finds the keypair that a message names, with two
// memory accesses and no lock. The low bits of an index are its place in the table, and
// the high bits are random: when a place is reused, its index is most probably a
// different one.
//
// All peers that share a socket share a table. It is safe for concurrent use.
type Table struct {
	slots []atomic.Pointer[keypair]
}

// slotsPerPeer leaves at least half of the table free: a peer has up to three keypairs
// and one that is being agreed on, and another machine that is about to take its place has
// as many.
const slotsPerPeer = 2 * 8

// NewTable returns a Table for a number of peers. It takes 128 to 256 bytes per peer.
func NewTable(peers int) *Table {
	return &Table{make([]atomic.Pointer[keypair], 1<<bits.Len(uint(slotsPerPeer*peers-1)))}
}

func (t *Table) slot(index uint32) *atomic.Pointer[keypair] {
	return &t.slots[index&uint32(len(t.slots)-1)]
}

// reserve returns a keypair of p with an index, which is never 0. It has no keys yet:
// replace puts the keypair with the keys in its place.
func (t *Table) reserve(p *Peer) *keypair {
	s := &keypair{peer: p}
	var index [4]byte
	for {
		rand.Read(index[:]) // never fails: it ends the process instead
		s.local = binary.LittleEndian.Uint32(index[:])
		if s.local != 0 && t.slot(s.local).CompareAndSwap(nil, s) {
			return s
		}
	}
}

// replace puts s in the place of reserved, which has the same index.
func (t *Table) replace(reserved, s *keypair) { t.slot(reserved.local).Store(s) }

// remove removes a keypair from the table; s may be nil.
func (t *Table) remove(s *keypair) {
	if s != nil {
		t.slot(s.local).CompareAndSwap(s, nil)
	}
}

// find returns the keypair with an index, or nil.
func (t *Table) find(index uint32) *keypair {
	if s := t.slot(index).Load(); s != nil && s.local == index {
		return s
	}
	return nil
}

// Len returns how many keypairs there are. It scans the whole table; tests use it to see
// whether any keypair was left behind.
func (t *Table) Len() (n int) {
	for i := range t.slots {
		if t.slots[i].Load() != nil {
			n++
		}
	}
	return n
}
