package hub

import (
	"fmt"
	"net/netip"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/protocol"
)

// receive moves packets from the clients to the device, and checks everything about them.
func (h *Hub) receive(q *queue) error {
	// b holds what was received; across seals what goes from one client to another, see send.go.
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

// openBurst opens the messages in b, and leaves in b the packets for the device.
//
// Messages from an address inside the tunnel are dropped. Otherwise the server would send
// that client's packets to an address that is itself reached through the tunnel: it would
// seal each packet again and again, without end.
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
			c.drop(why)
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

// hear handles what an authentic message of a client means, apart from its packet.
func (h *Hub) hear(c *client, q *queue, from netip.AddrPort, in secure.Opened, now time.Time) {
	if c.via.Load() != q { // a load is cheap; a store would take the cache line from other processors
		c.via.Store(q)
	}
	if c.state.Load() == pending { // let in, but not heard since: now it is no replay
		h.arrive(c, now) // it becomes open, or has to log in first
	}
	q.tell(in.Reply, from) // only now: after a reply, the client relies on being in
	switch in.Kind {
	case secure.Closed:
		h.leave(c, "a client has left", now)
	case secure.Control:
		if !h.control(c, in.Control, in.Content) {
			c.drop(link.Malformed)
		}
	}
}

// control handles a control message of a client. It reports false if it is malformed.
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
	if c.state.Load() != open { // a thief who has only the key must not control the owner's session
		c.drop(NotLoggedIn)
		return true
	}
	return h.cfg.Control(c, kind, content)
}

// destination returns the other client that a client's packet is for, or nil if it goes to
// the device, as packets to the internet and to the server itself do. If the packet must be
// dropped, it reports false, and why: it is not one whole packet (link.Malformed), the client
// has yet to log in (NotLoggedIn), the packet is for many hosts (Multicast), its source is
// not the client's own (Spoofed), it is for another client, which isn't allowed (ToClient),
// or no other client has that address (NoClient). The first that holds is the reason.
//
//exercise:1
func (h *Hub) destination(c *client, p []byte) (to *client, why link.Reason, ok bool) {
	src, dst, ok := addresses(p)
	switch {
	case !ok:
		return nil, link.Malformed, false
	case c.state.Load() != open: // its packets pass only once it has logged in, if it must
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
	if to = h.directory.at(dst); to == nil || to == c {
		return nil, NoClient, false
	}
	return to, 0, true
}
