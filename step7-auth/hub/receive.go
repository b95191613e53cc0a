package hub

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/protocol"
)

// A queue is a Queue at work. Several goroutines write to the socket.
type queue struct {
	Queue
	opener *secure.Opener // of the goroutine that reads from the socket
	mu     sync.Mutex     // guards Socket.WriteBurst, and one
	one    *link.Burst    // for a message that travels alone
}

func (h *Hub) newQueue(q Queue) *queue {
	return &queue{Queue: q, opener: secure.NewOpener(h.table, h.drops), one: link.NewBurst()}
}

// write sends a burst to the socket.
func (q *queue) write(b *link.Burst) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.Socket.WriteBurst(b)
}

// tell sends one message, if there is one. A failure shows in the pumps.
func (q *queue) tell(m []byte, to netip.AddrPort) { q.tellSo(m, to, link.Hints{}) }

// tellSo is tell with hints for the socket.
func (q *queue) tellSo(m []byte, to netip.AddrPort, hints link.Hints) {
	if m == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.one.Reset()
	copy(q.one.Alloc(len(m)), m)
	q.one.Addr, q.one.Hints = to, hints
	q.Socket.WriteBurst(q.one)
}

// receive moves what comes from the clients into the device. It believes nothing.
func (h *Hub) receive(q *queue) error {
	b, across := link.NewBurst(), h.newSealer(q)
	for {
		if err := q.Socket.ReadBurst(b); err != nil {
			return fmt.Errorf("receiving from the clients: %w", err)
		}
		if err := h.openBurst(q, b, across, time.Now()); err != nil {
			return fmt.Errorf("sending from one client to another: %w", err)
		}
		if b.Len() == 0 {
			continue
		}
		if err := q.Device.WriteBurst(b); err != nil {
			return fmt.Errorf("writing to the TUN device: %w", err)
		}
	}
}

// openBurst leaves in b the packets for the device.
//
// What comes through the tunnel itself is dropped. Who is reached through the
// tunnel would be sent what is sealed for him, sealed once more, and so on without
// end.
func (h *Hub) openBurst(q *queue, b *link.Burst, across *sealer, now time.Time) error {
	if h.inside(b.Addr.Addr()) {
		for range b.Len() {
			h.drops.Add(Looped)
		}
		b.Truncate(0)
		return nil
	}
	kept, bytes := 0, 0
	if err := across.begin(b.Hints); err != nil {
		return err
	}
	for _, in := range q.opener.Open(b, now) {
		if in.Peer == nil {
			if in.Kind == secure.Initiation {
				h.queueHandshake(q, in.Content, b.Addr, now)
			}
			continue
		}
		c := in.Peer.Owner().(*client)
		h.hear(c, q, b.Addr, in, now)
		if in.Kind != secure.Packet {
			continue
		}
		to, why, ok := h.destination(c, in.Content)
		if !ok {
			h.drops.Add(why)
			continue
		}
		c.received.Add(1, len(in.Content))
		if to == nil {
			b.Set(kept, in.Content)
			kept++
			bytes += len(in.Content)
			continue
		}
		h.count.Received.Add(1, len(in.Content))
		if err := across.add(to, in.Content, now); err != nil {
			return err
		}
	}
	b.Truncate(kept)
	h.count.Received.Add(kept, bytes)
	return across.flush()
}

// hear takes what an authentic message of a client means, other than its packet.
func (h *Hub) hear(c *client, q *queue, from netip.AddrPort, in secure.Opened, now time.Time) {
	if c.via.Load() != q {
		c.via.Store(q)
	}
	if c.state.Load() == pending {
		h.arrive(c, now)
	}
	q.tell(in.Reply, from) // after that it counts on being there
	switch in.Kind {
	case secure.Closed:
		h.leave(c, "a client has left", now)
	case secure.Control:
		if !h.control(c, in.Control, in.Content) {
			h.drops.Add(link.Malformed)
		}
	}
}

// control takes a control message of a client. It reports false if it is none.
func (h *Hub) control(c *client, kind byte, content []byte) bool {
	if kind == protocol.KindLogin {
		l, err := protocol.ParseLogin(content)
		if err != nil {
			return false
		}
		h.login(c, l)
		return true
	}
	if kind < protocol.FirstKind || h.cfg.Control == nil {
		return false
	}
	if c.state.Load() != open { // who has stolen a key has no say in its owner's matters
		h.drops.Add(NotLoggedIn)
		return true
	}
	return h.cfg.Control(c, kind, content)
}

// destination returns the other client that a client's packet goes to; nil is the
// device. If it may not go on, it says why.
func (h *Hub) destination(c *client, p []byte) (to *client, why link.Reason, ok bool) {
	src, dst, ok := addresses(p)
	switch {
	case !ok:
		return nil, link.Malformed, false
	case c.state.Load() != open:
		return nil, NotLoggedIn, false
	case h.toMany(dst):
		return nil, Multicast, false
	case !c.allows(src):
		return nil, Spoofed, false
	case !h.inside(dst) || h.own(dst):
		return nil, 0, true
	case !h.cfg.ClientToClient:
		return nil, ToClient, false
	}
	if to = h.members.at(dst); to == nil || to == c {
		return nil, NoClient, false
	}
	return to, 0, true
}
