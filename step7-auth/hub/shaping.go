package hub

import (
	"fmt"
	"sync"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
)

// This file is a seam for a chapter after step 8: somebody else decides when a client's packets
// pass. The hub asks him about each of them. He lets it pass at once, drops it, or keeps a copy,
// which he hands back later.

// A Shaper decides about the packets of one client. Its methods are called for each packet, by
// several goroutines: they must be fast, and must not keep the packet.
type Shaper interface {
	// Send is asked about a packet to the client, and Receive about one from it. If they
	// return true, the packet passes now. Otherwise they have counted why it is dropped, or
	// have made a copy of it, and of its hints.
	Send(packet []byte, hints link.Hints) bool
	Receive(packet []byte, hints link.Hints) bool

	// Dropped returns how many packets it has dropped so far.
	Dropped() uint64
}

// Held are the links by which Shapers hand packets back. The hub only reads from them, each with
// a goroutine of its own, and closes them.
type Held struct{ ToClients, FromClients link.Link }

func (s *Held) close() {
	if s != nil {
		s.ToClients.Close()
		s.FromClients.Close()
	}
}

// droppedBy returns how many packets a Shaper, which may be nil, has dropped so far.
func droppedBy(s Shaper) uint64 {
	if s == nil {
		return 0
	}
	return s.Dropped()
}

// receives asks the client's Shaper, if it has one, about a packet from the client.
func (c *client) receives(p []byte, hints link.Hints) bool {
	return c.shaper == nil || c.shaper.Receive(p, hints)
}

// sends asks the client's Shaper about a packet to the client, unless it has been asked already.
func (s *sealer) sends(c *client, p []byte) bool {
	return c.shaper == nil || s.held || c.shaper.Send(p, s.hints)
}

// passHeld starts to pass on what Shapers hand back. q is any queue: its device takes the packets
// from all clients.
func (h *Hub) passHeld(pumps *sync.WaitGroup, fail func(error), q *queue) {
	if h.cfg.Held == nil {
		return
	}
	pumps.Go(func() { fail(h.sendHeld(q, h.cfg.Held.ToClients)) })
	pumps.Go(func() { fail(h.receiveHeld(q, h.cfg.Held.FromClients)) })
}

// sendHeld does what send does, with packets that a Shaper has held back.
func (h *Hub) sendHeld(q *queue, held link.Link) error {
	b, out := link.NewBurst(), h.newSealer(q)
	out.held = true
	for {
		if err := held.ReadBurst(b); err != nil {
			return fmt.Errorf("reading packets that were held back: %w", err)
		}
		if err := h.sealBurst(b, out, time.Now()); err != nil {
			return fmt.Errorf("sending to the clients: %w", err)
		}
	}
}

// receiveHeld does what receive does behind the decryption, with packets that a Shaper has held
// back.
func (h *Hub) receiveHeld(q *queue, held link.Link) error {
	b, across := link.NewBurst(), h.newSealer(q)
	for {
		if err := held.ReadBurst(b); err != nil {
			return fmt.Errorf("reading packets that were held back: %w", err)
		}
		if err := h.checkHeld(b, across, time.Now()); err != nil {
			return fmt.Errorf("sending from one client to another: %w", err)
		}
		if b.Len() == 0 {
			continue
		}
		if err := q.deliver(b); err != nil {
			return fmt.Errorf("writing to the TUN device: %w", err)
		}
	}
}

// checkHeld leaves in b the packets for the device. Since they were checked, their clients may
// have left: so they are checked once more.
func (h *Hub) checkHeld(b *link.Burst, across *sealer, now time.Time) error {
	kept, bytes := 0, 0
	if err := across.begin(b.Hints); err != nil {
		return err
	}
	for i := range b.Len() {
		p := b.At(i)
		src, _, _ := addresses(p)
		c := h.directory.at(src)
		if c == nil {
			h.drops.Add(NoClient)
			continue
		}
		to, why, ok := h.destination(c, p)
		if !ok {
			h.drops.Add(why)
			continue
		}
		c.received.Add(1, len(p))
		if to == nil {
			b.Set(kept, p)
			kept++
			bytes += len(p)
			continue
		}
		h.count.Received.Add(1, len(p))
		if err := across.add(to, p, now); err != nil {
			return err
		}
	}
	b.Truncate(kept)
	h.count.Received.Add(kept, bytes)
	return across.flush()
}

// Tell sends a control message to the client that has a key, if it is there and speaks our own
// protocol. It may get lost.
func (h *Hub) Tell(key noise.PublicKey, kind byte, content []byte) {
	for _, c := range h.directory.of(key) {
		if c.state.Load() == open {
			c.Control(kind, content)
		}
	}
}
