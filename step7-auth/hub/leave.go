package hub

import (
	"errors"
	"time"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
)

// Cut ends the session of an identity at once, if there is one: its keys are
// dropped, it is told why, and Admission.Left is called. To keep it out, make Lookup
// refuse it first.
func (h *Hub) Cut(key noise.PublicKey, why secure.Rejected) {
	why.Reason = secure.Sentence(why.Reason)
	for _, c := range h.directory.of(key) {
		h.end(c, why, time.Now())
	}
}

// end cuts a client off and tells it why.
func (h *Hub) end(c *client, why secure.Rejected, now time.Time) {
	if !h.directory.remove(c) {
		return
	}
	c.log.Info("a client is cut off", "peer", c.peer.Status().Peer, "reason", why.Reason)
	c.tell(c.peer.Close(why, now))
	h.someLeft()
}

// leave removes a client that has no keys any more, or has never sent a packet.
func (h *Hub) leave(c *client, how string, now time.Time) {
	if !h.directory.remove(c) {
		return
	}
	c.log.Debug(how)
	c.peer.Close(secure.Rejected{}, now) // it may have new keys that nothing has come under yet
	h.someLeft()
}

// sayGoodbye tells all clients that the server is stopping.
func (h *Hub) sayGoodbye() {
	now := time.Now()
	for _, c := range h.directory.all(nil) {
		c.tell(c.peer.Close(stops, now))
	}
}

// someLeft tells answerHandshakes that directory.left is not empty.
func (h *Hub) someLeft() {
	select {
	case h.left <- struct{}{}:
	default: // it has been told already
	}
}

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
