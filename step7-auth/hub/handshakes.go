package hub

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/cookie"
)

// This file has the handshake queue, and admit: which initiations get a session, and which are
// refused or dropped.

// One goroutine answers initiations one after another, handshakesPerSecond on average.
// Others wait meanwhile in the handshake queue, which has a fixed size; when it is full,
// initiations are dropped, and honest clients ask again. Clients that are connected, and
// those that recently were, have queues of their own (handshakeshares.go). An initiation
// that has waited for too long is dropped, too: its sender is about to ask again, and
// would not accept the answer to the old one. So a flood takes a bounded part of one
// processor, no further memory, and nothing from the clients that are connected.
//
// An initiation can be a replay. Its timestamp shows that if a newer one of the same
// identity has come. Then it gets no answer, or one that tells the client that made it
// that its clock is behind (see directory.hear). If no newer one has come, as after a
// restart of the server, the replay is answered; but the attacker can do nothing with the
// answer, and the connected client stays until a packet under the new keys has come.

// A handshake is an initiation that waits.
type handshake struct {
	via     *queue
	by      *entrance // the key that it is for
	from    netip.AddrPort
	at      time.Time
	len     int
	message [maxInitiation]byte
}

// queueHandshake puts an initiation into the handshake queue.
func (h *Hub) queueHandshake(q *queue, m []byte, from netip.AddrPort, now time.Time) {
	share, present := h.shares.of(from)
	by := h.by(m)
	if check := by.Check; check != nil {
		var reply []byte
		m, reply = check(m, from, h.underLoad(now), present, now)
		q.tell(reply, from)
		if m == nil {
			return
		}
	}
	if len(m) > maxInitiation {
		h.drops.Add(secure.BadMessage)
		return
	}
	k := handshake{via: q, by: by, from: from, at: now, len: len(m)}
	copy(k.message[:], m)
	if share == nil {
		share = h.handshakes
	}
	select {
	case share <- k:
	default:
		h.drops.Add(cookie.UnderLoad)
	}
}

// underLoad reports whether initiations come faster than they can be answered.
func (h *Hub) underLoad(now time.Time) bool {
	clock := h.clockOf(now)
	if len(h.handshakes) > loadQueue || h.shares.long() {
		h.loadAt.Store(clock)
		return true
	}
	at := h.loadAt.Load()
	return at != 0 && clock-at < int64(loadFor)
}

// answerHandshakes answers the queued initiations, and tells Admission which clients have
// left, until ctx ends.
func (h *Hub) answerHandshakes(ctx context.Context) {
	refill := time.NewTicker(clockInterval)
	defer refill.Stop()
	budget, left := handshakesAtOnce, h.left
	answer := func(k *handshake) {
		now := time.Now()
		if now.Sub(k.at) > k.by.patience() {
			h.drops.Add(cookie.UnderLoad)
			return
		}
		budget--
		k.via.tell(h.admit(k, now), k.from)
	}
	for {
		// Queues that are nil here wait for the refill.
		present, recent, others := h.shares.waiting(h.handshakes, budget)
		select {
		case <-ctx.Done():
			return
		case <-refill.C:
			left = h.left
			budget = min(handshakesAtOnce, budget+int(handshakesPerSecond*clockInterval/time.Second))
		case <-left:
			left = nil // not again until the refill, as this may take a while
			if gone := h.directory.takeLeft(); len(gone) > 0 {
				h.cfg.Admission.Left(gone)
			}
		case k := <-present:
			answer(&k)
		case k := <-recent:
			answer(&k)
		case k := <-others:
			answer(&k)
		}
	}
}

// admit returns the answer to an initiation, or nil if it gets none.
func (h *Hub) admit(k *handshake, now time.Time) []byte {
	request, ok := k.by.responder.Read(k.message[:k.len])
	if !ok {
		return nil
	}
	key := request.PeerStatic()
	account, known := h.cfg.Admission.Lookup(key)
	if request.Older() {
		return h.refuseOlder(request, k, account.Name)
	}
	hello, ok := k.by.hello(request) // hello.Instance: a number of this run of the program
	if !ok {
		h.drops.Add(secure.BadMessage)
		return nil
	}
	if !known { // the registry has no such key
		return h.refuse(request, k, "an unknown key", unknown)
	}
	// unfit refuses a client that asks without the pre-shared key that it must have (psk.go).
	if no := h.unfit(k.by, request, account); no != nil {
		return h.refuse(request, k, account.Name, *no)
	}
	// hear notes the initiation, and refuses a replay, and one that comes too soon after another.
	if behind, why, ok := h.directory.hear(key, hello.Instance, request.Time(), k.by.newest(key), k.from, now); !ok {
		h.drops.Add(why)
		return h.sayBehind(request, behind)
	}
	if no := account.refused(now); no != nil {
		return h.refuse(request, k, account.Name, *no)
	}
	// object refuses an instance that another machine has replaced, and a client too many.
	if no := h.directory.object(key, hello.Instance, h.cfg.MaxClients); no != nil {
		return h.refuse(request, k, account.Name, *no)
	}
	c := h.directory.find(key, hello.Instance) // the same run of the program may be in already
	if c != nil && account.NeedsPassword && !c.login {
		h.end(c, changed, now) // let in again, it has to log in
		return nil
	}
	if c == nil { // it is new: it gets addresses, and is pending until its first packet
		leased, err := h.cfg.Admission.Lease(key, now)
		if err != nil {
			slog.Warn("there is no address for a client", "client", account.Name, "error", err)
			return h.refuse(request, k, account.Name, reasonOf(err, noAddress))
		}
		c = h.newClient(key, hello, account, leased, k, request.Time(), now)
		// expect enters c as pending; if too many of its identity are, another has to go.
		if before := h.directory.expect(c); before != nil {
			before.tell(before.peer.Close(crowded, now))
		}
	}
	return h.accept(request, c, account, k, now)
}
