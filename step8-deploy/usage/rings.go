package usage

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// An entry is what one client used in a slot.
type entry struct {
	id uint32 // see clientIDs
	Counts
}

// A group is what all clients used in a slot, sorted by id.
type group struct {
	slot    int64
	entries []entry
}

func (g group) sort() {
	slices.SortFunc(g.entries, func(a, b entry) int { return cmp.Compare(a.id, b.id) })
}

// A frame is what is written at a time: groups of one ring.
type frame struct {
	ring   int
	seq    uint64 // no other frame has this number; later ones have larger ones
	covers uint64 // all frames of the next finer ring up to this number are part of this one, or of earlier ones
	groups []group

	clients *clientIDs // whose numbers the entries have
}

func (f *frame) size() (entries int) {
	for _, g := range f.groups {
		entries += len(g.entries) + 1
	}
	return entries
}

// name notes the clients that a file names once it has the frame.
func (f *frame) name(named map[uint32]bool) {
	for _, g := range f.groups {
		for _, e := range g.entries {
			named[e.id] = true
		}
	}
}

// A slotSum collects what is used in the present slot of a ring.
type slotSum struct {
	slot   int64
	counts map[uint32]*Counts
	covers uint64 // as in a frame
}

// state is all that is not in the files yet. The caller must hold Log.mu.
//
// Time may go backwards, or far ahead, as clocks are set. Nothing here relies on it: a slot is
// over when the time is in another one. A slot may have several groups, whose sum counts.
type state struct {
	clients *clientIDs
	seq     uint64            // of the newest frame
	newest  [numRings]uint64  // of each ring
	pending []group           // seconds that are in no frame yet
	sums    [numRings]slotSum // of minutes and above
	queue   []*frame          // not written yet, in order
	queued  int               // entries in queue
	dropped int               // frames, since dropping began: see maxQueued
}

// Limits.
const (
	maxQueued  = 1 << 20 // entries in memory, of 64 bytes each, if they can't be written
	maxPending = 100_000 // entries in a frame of seconds
	maxClients = 1 << 17 // in a clientIDs: twice as many as a registry has
)

func newState() *state {
	s := &state{clients: new(clientIDs)}
	for i := range s.sums {
		s.sums[i].counts = make(map[uint32]*Counts)
	}
	return s
}

// add adds what clients have used in the second that ends now.
func (s *state) add(now time.Time, used map[Client]*Counts) {
	s.advance(now)
	if len(used) == 0 {
		return
	}
	if len(s.clients.list)+len(used) > maxClients {
		s.renumber()
	}
	g := group{slot: rings[seconds].slot(now), entries: make([]entry, 0, len(used))}
	for who, c := range used {
		g.entries = append(g.entries, entry{s.clients.id(who), *c})
	}
	g.sort()
	s.into(minutes, above(seconds, g.slot), g.entries)
	s.pending = append(s.pending, g)
	if f := (frame{groups: s.pending}); f.size() >= maxPending {
		s.cut()
	}
}

// advance ends the slots that the time is not in any more.
func (s *state) advance(now time.Time) {
	for i := minutes; i < numRings; i++ {
		if s.sums[i].slot != rings[i].slot(now) {
			s.end(i)
		}
	}
}

// into adds to the present slot of a ring. If that is another one, it ends it first.
func (s *state) into(i int, slot int64, entries []entry) {
	if s.sums[i].slot != slot {
		s.end(i)
		s.sums[i].slot = slot
	}
	for _, e := range entries {
		c := s.sums[i].counts[e.id]
		if c == nil {
			c = new(Counts)
			s.sums[i].counts[e.id] = c
		}
		c.Add(e.Counts)
	}
}

// end makes a frame of the present slot of a ring, and adds it to the next coarser ring.
func (s *state) end(i int) {
	if i == minutes {
		s.cut()
		s.sums[i].covers = s.newest[seconds]
	}
	sum := &s.sums[i]
	if len(sum.counts) == 0 {
		return
	}
	g := sum.group()
	clear(sum.counts)
	covers := sum.covers
	if i+1 < numRings {
		s.into(i+1, above(i, g.slot), g.entries)
	}
	seq := s.enqueue(&frame{ring: i, covers: covers, groups: []group{g}})
	if i+1 < numRings {
		s.sums[i+1].covers = seq
	}
}

// group returns what a slotSum has so far.
func (sum *slotSum) group() group {
	g := group{slot: sum.slot, entries: make([]entry, 0, len(sum.counts))}
	for _, id := range slices.Sorted(maps.Keys(sum.counts)) {
		g.entries = append(g.entries, entry{id, *sum.counts[id]})
	}
	return g
}

// cut makes a frame of the pending seconds.
func (s *state) cut() {
	if len(s.pending) > 0 {
		s.enqueue(&frame{ring: seconds, groups: s.pending})
		s.pending = nil
	}
}

// enqueue gives a frame its number, and has it written.
func (s *state) enqueue(f *frame) (seq uint64) {
	s.seq++
	f.seq, f.clients = s.seq, s.clients
	s.newest[f.ring] = f.seq
	s.queue = append(s.queue, f)
	s.queued += f.size()
	for s.queued > maxQueued && len(s.queue) > 1 {
		s.dropOne()
	}
	return f.seq
}

// dropOne drops the oldest frame of the finest ring, as the coarser ones have its sum. The last
// one stays.
func (s *state) dropOne() {
	oldest := 0
	for i, f := range s.queue[:len(s.queue)-1] {
		if f.ring < s.queue[oldest].ring {
			oldest = i
		}
	}
	s.queued -= s.queue[oldest].size()
	s.queue = slices.Delete(s.queue, oldest, oldest+1)
	s.dropped++
}

// written takes the first frames off the queue, up to a number.
func (s *state) written(upTo uint64) {
	for len(s.queue) > 0 && s.queue[0].seq <= upTo {
		s.queued -= s.queue[0].size()
		s.queue = s.queue[1:]
		s.dropped = 0
	}
}

// renumber forgets the clients' numbers, and so all clients that are not there any more. It ends
// all slots early.
func (s *state) renumber() {
	for i := minutes; i < numRings; i++ {
		s.end(i)
	}
	s.clients = new(clientIDs)
}

// clientIDs gives each client a small number, which stands for it in memory and in a file.
type clientIDs struct {
	ids  map[Client]uint32
	list []Client
}

// id returns the number of a client.
func (c *clientIDs) id(who Client) uint32 {
	if id, known := c.ids[who]; known {
		return id
	}
	if c.ids == nil {
		c.ids = make(map[Client]uint32)
	}
	id := uint32(len(c.list))
	c.ids[who] = id
	c.list = append(c.list, who)
	return id
}
