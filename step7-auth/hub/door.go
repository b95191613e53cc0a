package hub

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/greet"
)

// The door is where initiations are answered: one after another, by one
// goroutine, and handshakesPerSecond on average. Those that come meanwhile wait in a
// queue of fixed size; when it is full they are dropped, and honest clients ask
// again. One that has waited for long is dropped too: its sender is about to ask
// anew, and would not take the answer to the old one. So a flood takes a bounded part of one processor, no memory, and
// nothing from the clients that are connected.
//
// An initiation can be a replay. Its time says so if a newer one of the same
// identity has come. If not, as after a restart of the server, it is answered;
// but who has it can do nothing with the answer, and the client that is there
// stays until a packet under the new keys has come.

// A knock is an initiation that waits.
type knock struct {
	via     *ends
	from    netip.AddrPort
	at      time.Time
	len     int
	message [maxInitiation]byte
}

// knock puts what is no packet of a session into the queue.
func (h *Hub) knock(e *ends, m []byte, from netip.AddrPort, now time.Time) {
	if h.cfg.Check != nil {
		var reply []byte
		m, reply = h.cfg.Check(m, from, h.underLoad(now), now)
		e.tell(reply, from)
		if m == nil {
			return
		}
	}
	if !secure.IsInitiation(m) || len(m) > maxInitiation {
		h.drops.Add(link.BadMessage)
		return
	}
	k := knock{via: e, from: from, at: now, len: len(m)}
	copy(k.message[:], m)
	select {
	case h.knocks <- k:
	default:
		h.drops.Add(link.UnderLoad)
	}
}

// underLoad reports whether initiations come faster than they can be answered.
func (h *Hub) underLoad(now time.Time) bool {
	clock := h.clockOf(now)
	if len(h.knocks) > loadQueue {
		h.loadAt.Store(clock)
		return true
	}
	at := h.loadAt.Load()
	return at != 0 && clock-at < int64(loadFor)
}

// door answers, and tells Config.Left who has left, until ctx ends.
func (h *Hub) door(ctx context.Context) {
	refill := time.NewTicker(clockInterval)
	defer refill.Stop()
	budget := handshakesAtOnce
	for {
		knocks := h.knocks
		if budget == 0 {
			knocks = nil // wait for the refill
		}
		select {
		case <-ctx.Done():
			return
		case <-refill.C:
			h.refusals = 0
			budget = min(handshakesAtOnce, budget+int(handshakesPerSecond*clockInterval/time.Second))
		case <-h.left:
			if left := h.members.takeLeft(); len(left) > 0 && h.cfg.Left != nil {
				h.cfg.Left(left)
			}
		case k := <-knocks:
			now := time.Now()
			if now.Sub(k.at) > knockWait {
				h.drops.Add(link.UnderLoad)
				continue
			}
			budget--
			k.via.tell(h.admit(&k, now), k.from)
		}
	}
}

// admit returns the answer to an initiation, or nil if it gets none.
func (h *Hub) admit(k *knock, now time.Time) []byte {
	request, ok := h.responder.Read(k.message[:k.len])
	if !ok {
		return nil
	}
	hello, err := greet.ParseHello(request.Payload())
	if err != nil {
		h.drops.Add(link.BadMessage)
		return nil
	}
	account, known := h.cfg.Lookup(request.PeerStatic())
	if !known {
		return h.refuse(request, k.from, "an unknown key", unknown)
	}
	if !h.members.hear(request.PeerStatic(), hello, now) {
		h.drops.Add(link.Replayed)
		return nil
	}
	if account.expired(now) {
		return h.refuse(request, k.from, account.Name, expired)
	}
	if no := h.members.object(request.PeerStatic(), hello, h.cfg.MaxClients); no != nil {
		return h.refuse(request, k.from, account.Name, *no)
	}
	c := h.members.find(request.PeerStatic(), hello)
	if c == nil {
		leased, err := h.cfg.Lease(request.PeerStatic(), now)
		if err != nil {
			slog.Warn("there is no address for a client", "client", account.Name, "error", err)
			return h.refuse(request, k.from, account.Name, reasonOf(err, noAddress))
		}
		c = h.newClient(request.PeerStatic(), hello.Instance, account, leased, k.via, now)
		if before := h.members.expect(c); before != nil {
			before.peer.Close(secure.Rejected{}, now)
		}
	} else {
		c.via.Store(k.via)
	}
	return h.accept(request, c, account, now)
}

// accept gives a client new keys and returns the answer that tells it so.
func (h *Hub) accept(request *secure.Request, c *client, a Account, now time.Time) []byte {
	c.renew(h, a)
	if c.state.Load() == pending {
		c.since.Store(h.clockOf(now)) // it has asked once more
	}
	payload, err := greet.Welcome{
		Login:    c.login && c.state.Load() != open,
		Addrs:    c.prefixes,
		Settings: h.cfg.Settings,
	}.Append(nil)
	if err != nil {
		c.log.Error("a client can't be welcomed", "error", err)
		return h.refuse(request, netip.AddrPort{}, c.name, noAddress)
	}
	answer, err := request.Accept(c.peer, payload, now)
	if err != nil {
		h.drops.Add(link.BadTag)
		return nil
	}
	if c.state.Load() == gone { // meanwhile
		c.peer.Close(secure.Rejected{}, now)
		return nil
	}
	return answer
}

// refuse returns an answer that tells the client why it is not let in.
func (h *Hub) refuse(request *secure.Request, from netip.AddrPort, name string, why secure.Rejected) []byte {
	level := slog.LevelDebug // beyond some, lest a flood of these fills the log
	if h.refusals < loggedRefusals {
		h.refusals++
		level = slog.LevelInfo
	}
	slog.Log(context.Background(), level, "a client is refused", "client", name, "peer", from, "reason", why.Reason)
	h.drops.Add(link.Refused)
	answer, err := request.Refuse(greet.AppendRefusal(nil, why))
	if err != nil {
		return nil // its ephemeral key was of low order
	}
	return answer
}
