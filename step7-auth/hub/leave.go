package hub

import (
	"errors"
	"time"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/greet"
)

// Why a client is refused or has to go, as it is told.
var (
	unknown       = secure.Rejected{Reason: "the server does not know this key: it was never added, or it was revoked", Final: true}
	expired       = secure.Rejected{Reason: "the access of this client has expired", Final: true}
	full          = secure.Rejected{Reason: "the server is full: it has as many clients as it may have"}
	noAddress     = secure.Rejected{Reason: "the server has no free address"}
	replaced      = secure.Rejected{Reason: "another machine with the same key has taken the place of this one", Final: true}
	tooManyLogins = secure.Rejected{Reason: "too many wrong passwords", Final: true}
	noLogin       = secure.Rejected{Reason: "no login in time", Final: true}
	idle          = secure.Rejected{Reason: "nothing was heard of this client for too long"}
	stops         = secure.Rejected{Reason: "the server stops"}
)

// reasonOf returns what err tells the client, or else what it is to be told.
func reasonOf(err error, otherwise secure.Rejected) secure.Rejected {
	if why, ok := errors.AsType[*secure.Rejected](err); ok {
		return *why
	}
	return otherwise
}

// settle takes a client for present if a packet has come under its keys. If
// another machine was there with the same identity, that has to go.
func (h *Hub) settle(c *client, now time.Time) {
	status := c.peer.Status()
	if status.Since.IsZero() {
		return
	}
	before, ok := h.members.settle(c)
	if !ok {
		return
	}
	c.since.Store(h.clockOf(now))
	if before != nil {
		c.log.Warn("another machine, or the same one started anew, takes the place of a client", "peer", status.Peer, "before", before.peer.Status().Peer)
		before.via.Load().tell(before.peer.Close(replaced, now))
	}
	// It may have been revoked after it was let in, and before Cut could find it.
	if _, known := h.cfg.Lookup(c.key); !known {
		h.end(c, unknown, now)
	}
}

// Cut ends the session of an identity at once, if there is one: its keys are
// dropped, it is told why, and Config.Left is called. To keep it out, let Lookup
// refuse it before.
func (h *Hub) Cut(key noise.PublicKey, why secure.Rejected) {
	why.Reason = greet.Sentence(why.Reason)
	for _, c := range h.members.of(key) {
		h.end(c, why, time.Now())
	}
}

// end takes a client away and tells it why.
func (h *Hub) end(c *client, why secure.Rejected, now time.Time) {
	if !h.members.remove(c) {
		return
	}
	c.log.Info("a client is cut off", "peer", c.peer.Status().Peer, "reason", why.Reason)
	c.via.Load().tell(c.peer.Close(why, now))
	h.someLeft()
}

// leave takes a client away that has no keys any more.
func (h *Hub) leave(c *client) {
	if h.members.remove(c) {
		c.log.Debug("a client has left") // the peer has said why
		h.someLeft()
	}
}

// vanish takes a client away that has never sent a packet.
func (h *Hub) vanish(c *client, now time.Time) {
	if h.members.remove(c) {
		c.log.Debug("a client that was let in has not come")
		c.peer.Close(secure.Rejected{}, now)
		h.someLeft()
	}
}

// someLeft lets the door know that members.left is not empty.
func (h *Hub) someLeft() {
	select {
	case h.left <- struct{}{}:
	default: // it knows
	}
}

// sayGoodbye tells all clients that the server stops.
func (h *Hub) sayGoodbye() {
	now := time.Now()
	for _, c := range h.members.all(nil) {
		c.via.Load().tell(c.peer.Close(stops, now))
	}
}
