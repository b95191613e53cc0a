package hub

import (
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
)

// A table finds the client that a session index belongs to, with one read of
// memory and no lock. The low bits of an index are its place in the table, the
// high bits are random; so an index that is used again mostly differs from the
// one before, and a message for the old session is not taken for one of the new.
// (It would not authenticate anyway.)
//
// It is safe for concurrent use.
type table struct {
	slots []atomic.Pointer[client]
}

// slotsPerClient leaves at least half of the table free: a client has up to three
// sessions, and one more while a handshake is answered; so has a machine that is
// about to take its place.
const slotsPerClient = 2 * 8

func (t *table) init(clients int) {
	n := uint(slotsPerClient * clients)
	t.slots = make([]atomic.Pointer[client], 1<<bits.Len(n-1))
}

func (t *table) slot(index uint32) *atomic.Pointer[client] {
	return &t.slots[index&uint32(len(t.slots)-1)]
}

// take returns an index that belongs to c from now on. It is never 0.
func (t *table) take(c *client) uint32 {
	for {
		if index := rand.Uint32(); index != 0 && t.slot(index).CompareAndSwap(nil, c) {
			return index
		}
	}
}

// free takes an index back.
func (t *table) free(index uint32) { t.slot(index).Store(nil) }

// find returns the client that has index, or nil. For an index that was never
// taken it may return any client: the client knows its own.
func (t *table) find(index uint32) *client { return t.slot(index).Load() }
