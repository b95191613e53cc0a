package hub

import (
	"errors"
	"time"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
)

// What a client is told if it is refused or cut off.
var (
	unknown       = secure.Rejected{Reason: "the server does not know this key: it was never added, or it was revoked", Final: true}
	expired       = secure.Rejected{Reason: "the access of this client has expired", Final: true}
	full          = secure.Rejected{Reason: "the server is full: it has as many clients as it may have"}
	noAddress     = secure.Rejected{Reason: "the server has no free address"}
	replaced      = secure.Rejected{Reason: "another machine with the same key has taken the place of this one", Final: true}
	crowded       = secure.Rejected{Reason: "too many programs ask to come in with this key: try again"}
	tooManyLogins = secure.Rejected{Reason: "too many wrong passwords", Final: true}
	changed       = secure.Rejected{Reason: "this client needs a password now"}
	noLogin       = secure.Rejected{Reason: "no login in time", Final: true}
	idle          = secure.Rejected{Reason: "the server has not heard from this client for too long"}
	stops         = secure.Rejected{Reason: "the server is stopping"}
)

// reasonOf returns what the client is told about err: err itself if it is a
// *secure.Rejected, or else otherwise.
func reasonOf(err error, otherwise secure.Rejected) secure.Rejected {
	if why, ok := errors.AsType[*secure.Rejected](err); ok {
		return *why
	}
	return otherwise
}

// arrive notes that a pending client is really there: a packet has come under its keys.
func (h *Hub) arrive(c *client, now time.Time) {
	if c.peer.Status().Since.IsZero() {
		return
	}
	if !c.login {
		if !h.settle(c, now) {
			return
		}
	} else if c.since.Store(h.clockOf(now)); !h.members.arrive(c) {
		return
	}
	h.recheck(c, now)
}

// recheck asks the registry once more whether a client that has just come may stay. The
// registry may have changed since the initiation or the password check, and before Cut
// could find the client.
func (h *Hub) recheck(c *client, now time.Time) {
	switch a, known := h.cfg.Admission.Lookup(c.key); {
	case !known:
		h.end(c, unknown, now)
	case a.expired(now):
		h.end(c, expired, now)
	case a.NeedsPassword && !c.login:
		h.end(c, changed, now)
	default:
		c.renew(h, a)
	}
}

// settle lets the packets of a client pass. Another machine with the same identity that
// was there before has to go. It reports false if c has gone.
func (h *Hub) settle(c *client, now time.Time) bool {
	before, ok := h.members.settle(c)
	if before != nil {
		c.log.Warn("another machine, or the same one after a restart, takes the place of a client",
			"peer", c.peer.Status().Peer, "before", before.peer.Status().Peer)
		before.tell(before.peer.Close(replaced, now))
	}
	return ok
}

// Cut ends the session of an identity at once, if there is one: its keys are
// dropped, it is told why, and Admission.Left is called. To keep it out, make Lookup
// refuse it first.
func (h *Hub) Cut(key noise.PublicKey, why secure.Rejected) {
	why.Reason = secure.Sentence(why.Reason)
	for _, c := range h.members.of(key) {
		h.end(c, why, time.Now())
	}
}

// end cuts a client off and tells it why.
func (h *Hub) end(c *client, why secure.Rejected, now time.Time) {
	if !h.members.remove(c) {
		return
	}
	c.log.Info("a client is cut off", "peer", c.peer.Status().Peer, "reason", why.Reason)
	c.tell(c.peer.Close(why, now))
	h.someLeft()
}

// leave removes a client that has no keys any more, or has never sent a packet.
func (h *Hub) leave(c *client, how string, now time.Time) {
	if !h.members.remove(c) {
		return
	}
	c.log.Debug(how)
	c.peer.Close(secure.Rejected{}, now) // it may have new keys that nothing has come under yet
	h.someLeft()
}

// someLeft tells answerHandshakes that members.left is not empty.
func (h *Hub) someLeft() {
	select {
	case h.left <- struct{}{}:
	default: // it has been told already
	}
}

// sayGoodbye tells all clients that the server is stopping.
func (h *Hub) sayGoodbye() {
	now := time.Now()
	for _, c := range h.members.all(nil) {
		c.tell(c.peer.Close(stops, now))
	}
}
