package hub

import (
	"fmt"
	"net/netip"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/secure"
)

// send moves packets for the clients from the device to the socket.
func (h *Hub) send(q *queue) error {
	b, out := link.NewBurst(), h.newSealer(q)
	for {
		if err := q.Device.ReadBurst(b); err != nil {
			return fmt.Errorf("reading from the TUN device: %w", err)
		}
		if err := h.sealBurst(b, out, time.Now()); err != nil {
			return fmt.Errorf("sending to the clients: %w", err)
		}
	}
}

// sealBurst sends each packet of b to the client that has its destination address. If more
// packets are coming, the last ones wait in out.
func (h *Hub) sealBurst(b *link.Burst, out *sealer, now time.Time) error {
	var c *client // the last packet's
	if err := out.begin(b.Hints); err != nil {
		return err
	}
	for i := range b.Len() {
		p := b.At(i)
		to, why, ok := h.recipient(p, c)
		if !ok {
			h.drops.Add(why)
			continue
		}
		c = to
		if err := out.add(c, p, now); err != nil {
			return err
		}
	}
	if b.Hints.More {
		return nil
	}
	return out.flush()
}

// recipient returns the client that a packet from the device is for: it has the destination
// address. If the packet must be dropped, recipient reports false, and why: it is not one
// whole packet (link.Malformed), it is for many hosts (Multicast), or no client has the
// address (NoClient). The first that holds is the reason.
//
// before is the client that the packet before was for, or nil. As neighbours mostly have the
// same destination, it is asked first, which saves a search under a lock.
//
//exercise:1
func (h *Hub) recipient(p []byte, before *client) (to *client, why link.Reason, ok bool) {
	_, dst, ok := addresses(p)
	switch {
	case !ok:
		return nil, link.Malformed, false
	case h.toMany(dst):
		return nil, Multicast, false
	case before != nil && before.allows(dst):
		return before, 0, true
	}
	if to = h.directory.at(dst); to == nil {
		return nil, NoClient, false
	}
	return to, 0, true
}

// A sealer collects packets for one client after another, and sends consecutive packets
// for the same client together. It belongs to one goroutine.
type sealer struct {
	h     *Hub
	queue *queue
	out   *link.Burst

	// These are about the packets in out.
	to    *client
	keys  secure.Keys
	addr  netip.AddrPort
	bytes int // the packets' length before they were sealed

	hints link.Hints // of the packets
}

func (h *Hub) newSealer(q *queue) *sealer { return &sealer{h: h, queue: q, out: link.NewBurst()} }

// begin sets the hints for the packets that are added from now on.
func (s *sealer) begin(h link.Hints) error {
	h.More = false // this hint is only about reading from the device
	if h == s.hints {
		return nil
	}
	err := s.flush()
	s.hints = h
	return err
}

// add seals a packet for c, or counts why it drops the packet.
func (s *sealer) add(c *client, p []byte, now time.Time) error {
	if c.state.Load() != open {
		c.drop(NotLoggedIn)
		return nil
	}
	if c != s.to {
		if err := s.flush(); err != nil {
			return err
		}
		s.to = c
		s.keys, s.addr = c.peer.Sending(now)
	}
	why, ok := s.keys.Seal(s.out, p)
	if !ok && why == link.TooBig && s.out.Len() > 0 { // the burst is full
		if err := s.flush(); err != nil {
			return err
		}
		return s.add(c, p, now)
	}
	if !ok {
		c.drop(why)
		return nil
	}
	s.bytes += len(p)
	return nil
}

// flush sends the sealed packets.
func (s *sealer) flush() (err error) {
	if n := s.out.Len(); n > 0 {
		s.to.sent.Add(n, s.bytes)
		s.h.count.Sent.Add(n, s.bytes)
		s.out.Addr, s.out.Hints = s.addr, s.hints
		err = s.queue.toward(s.to).write(s.out)
	}
	s.out.Reset()
	s.to, s.bytes, s.keys = nil, 0, secure.Keys{}
	return err
}
