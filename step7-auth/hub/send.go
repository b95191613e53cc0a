package hub

import (
	"fmt"
	"net/netip"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/secure"
)

// send moves what is for the clients: from the device to the socket.
func (h *Hub) send(e *ends) error {
	b, out := link.NewBurst(), h.newSealer(e)
	for {
		if err := e.Device.ReadBurst(b); err != nil {
			return fmt.Errorf("reading from the TUN device: %w", err)
		}
		if err := h.sealBurst(b, out, time.Now()); err != nil {
			return fmt.Errorf("sending to the clients: %w", err)
		}
	}
}

// sealBurst sends each packet of b to the client that has its destination. The last
// ones wait in out if more are coming.
func (h *Hub) sealBurst(b *link.Burst, out *sealer, now time.Time) error {
	var last netip.Addr
	var c *client // who has last
	if err := out.classify(b.Class); err != nil {
		return err
	}
	for i := range b.Len() {
		p := b.At(i)
		_, dst, ok := addresses(p)
		if !ok {
			h.drops.Add(link.Malformed)
			continue
		}
		if h.toMany(dst) {
			h.drops.Add(Multicast)
			continue
		}
		if dst != last {
			c, last = h.members.at(dst), dst
		}
		if c == nil {
			h.drops.Add(NoClient)
			continue
		}
		if err := out.add(c, p, now); err != nil {
			return err
		}
	}
	if b.More {
		return nil
	}
	return out.flush()
}

// A sealer collects packets for one client after another, and sends those of one
// client together. It belongs to one goroutine.
type sealer struct {
	h    *Hub
	ends *ends
	out  *link.Burst

	// Of the packets in out, and those dropped on the way there.
	to    *client
	keys  secure.Keys
	addr  netip.AddrPort
	bytes int // of the packets, before they were sealed

	class byte // of the packets
}

func (h *Hub) newSealer(e *ends) *sealer { return &sealer{h: h, ends: e, out: link.NewBurst()} }

// classify sets the traffic class of the packets that are added from now on.
func (s *sealer) classify(class byte) error {
	if class == s.class {
		return nil
	}
	err := s.flush()
	s.class = class
	return err
}

// add seals a packet for c, or counts why that can't be.
func (s *sealer) add(c *client, p []byte, now time.Time) error {
	if c.state.Load() != open {
		s.h.drops.Add(NotLoggedIn)
		return nil
	}
	if c != s.to {
		if err := s.flush(); err != nil {
			return err
		}
		s.to = c
		s.keys, s.addr = c.peer.Sending(now)
	}
	room := s.out.Alloc(len(p) + secure.Overhead)
	if room == nil && s.out.Len() > 0 {
		if err := s.flush(); err != nil {
			return err
		}
		return s.add(c, p, now)
	}
	if room == nil {
		s.h.drops.Add(link.TooBig)
		return nil
	}
	if _, ok := s.keys.Seal(room[:0], p); !ok {
		s.h.drops.Add(secure.NoSession)
		s.out.Truncate(s.out.Len() - 1)
		return nil
	}
	s.bytes += len(p)
	return nil
}

// way returns the ends to send by: our own, if they can reach the client.
func (s *sealer) way() *ends {
	if via := s.to.via.Load(); via.Listener != s.ends.Listener {
		return via
	}
	return s.ends
}

// flush sends what is sealed.
func (s *sealer) flush() (err error) {
	if n := s.out.Len(); n > 0 {
		s.to.sent.Add(n, s.bytes)
		s.h.count.Sent.Add(n, s.bytes)
		s.out.Addr, s.out.Class = s.addr, s.class
		err = s.way().write(s.out)
	}
	s.out.Reset()
	s.to, s.bytes, s.keys = nil, 0, secure.Keys{}
	return err
}
