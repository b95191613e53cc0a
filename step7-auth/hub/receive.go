package hub

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/greet"
)

// ends are the two ends of a Queue. Several goroutines write to the socket.
type ends struct {
	Queue
	mu  sync.Mutex  // guards Socket.WriteBurst, and one
	one *link.Burst // for a message that travels alone
}

func newEnds(q Queue) *ends { return &ends{Queue: q, one: link.NewBurst()} }

// write sends a burst to the socket.
func (e *ends) write(b *link.Burst) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.Socket.WriteBurst(b)
}

// tell sends one message, if there is one. A failure shows in the pumps.
func (e *ends) tell(m []byte, to netip.AddrPort) {
	if m == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.one.Reset()
	copy(e.one.Alloc(len(m)), m)
	e.one.Addr = to
	e.Socket.WriteBurst(e.one)
}

// receive moves what comes from the clients into the device. It believes nothing.
func (h *Hub) receive(e *ends) error {
	b, across := link.NewBurst(), h.newSealer(e)
	for {
		if err := e.Socket.ReadBurst(b); err != nil {
			return fmt.Errorf("receiving from the clients: %w", err)
		}
		if err := h.openBurst(e, b, across, time.Now()); err != nil {
			return fmt.Errorf("sending from one client to another: %w", err)
		}
		if b.Len() == 0 {
			continue
		}
		if err := e.Device.WriteBurst(b); err != nil {
			return fmt.Errorf("writing to the TUN device: %w", err)
		}
	}
}

// openBurst leaves in b the packets for the device.
//
// What comes through the tunnel itself is dropped. Who is reached through the
// tunnel would be sent what is sealed for him, sealed once more, and so on without
// end.
func (h *Hub) openBurst(e *ends, b *link.Burst, across *sealer, now time.Time) error {
	if h.inside(b.Addr.Addr()) {
		for range b.Len() {
			h.drops.Add(Looped)
		}
		b.Truncate(0)
		return nil
	}
	kept, bytes := 0, 0
	if err := across.classify(b.Class); err != nil {
		return err
	}
	for i := range b.Len() {
		p, c := h.open(e, b.At(i), b.Addr, now)
		if p == nil {
			continue
		}
		switch to, ok := h.passes(c, p); {
		case !ok:
		case to != nil:
			if err := across.add(to, p, now); err != nil {
				return err
			}
		default:
			b.Set(kept, p)
			kept++
			bytes += len(p)
		}
	}
	b.Truncate(kept)
	h.count.Received.Add(kept, bytes)
	return across.flush()
}

// open returns the packet that is in a message, and whose it is. It returns nil
// if there is none, and deals with all else that a client or a stranger can send.
func (h *Hub) open(e *ends, m []byte, from netip.AddrPort, now time.Time) ([]byte, *client) {
	index, ok := secure.Index(m)
	if !ok {
		h.knock(e, m, from, now)
		return nil, nil
	}
	c := h.table.find(index)
	if c == nil {
		h.drops.Add(secure.UnknownIndex)
		return nil, nil
	}
	inside, reply := c.peer.Receive(m, from, now)
	if (inside != nil || reply != nil) && c.via.Load() != e {
		c.via.Store(e)
	}
	if c.state.Load() == pending {
		h.arrive(c, now)
	}
	e.tell(reply, from) // after that it counts on being there
	switch {
	case inside == nil:
		if !c.peer.Alive() {
			h.leave(c) // it has said so
		}
		return nil, nil
	case secure.IsControl(inside):
		h.control(c, inside[1], inside[2:])
		return nil, nil
	}
	return inside, c
}

// control takes a control message of a client.
func (h *Hub) control(c *client, kind byte, content []byte) {
	switch kind {
	case greet.KindLogin:
		if l, err := greet.ParseLogin(content); err == nil {
			h.login(c, l)
			return
		}
	case greet.KindProbe:
		if p, err := greet.ParseProbe(content); err == nil {
			c.via.Load().tell(c.peer.Control(greet.KindProbed, p.Answer().Append(nil), time.Now()))
			return
		}
	}
	h.drops.Add(link.Malformed)
}

// passes reports whether a client's packet may go on, and to which other client;
// nil is the device. If it may not, it counts why.
func (h *Hub) passes(c *client, p []byte) (to *client, ok bool) {
	src, dst, ok := addresses(p)
	why := link.Malformed
	switch {
	case !ok:
	case c.state.Load() != open:
		why = NotLoggedIn
	case h.toMany(dst):
		why = Multicast
	case !c.owns(src):
		why = Spoofed
	case !h.inside(dst) || h.own(dst):
		c.received.Add(1, len(p))
		return nil, true
	case !h.cfg.ClientToClient:
		why = ToClient
	default:
		if to = h.members.at(dst); to != nil && to != c {
			c.received.Add(1, len(p))
			h.count.Received.Add(1, len(p))
			return to, true
		}
		why = NoClient
	}
	h.drops.Add(why)
	return nil, false
}
