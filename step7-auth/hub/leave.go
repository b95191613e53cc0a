package hub

import (
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
	if !h.directory.remove(c, why.Reason) {
		return
	}
	c.log.Info("a client is cut off", "peer", c.peer.Status().Peer, "reason", why.Reason)
	c.tell(c.peer.Close(why, now))
	h.tellEnded(c)
	h.someLeft()
}

// leave removes a client that has no keys any more, or has never sent a packet.
func (h *Hub) leave(c *client, how string, now time.Time) {
	if !h.directory.remove(c, how) {
		return
	}
	c.log.Debug(how)
	c.peer.Close(secure.Rejected{}, now) // it may have new keys that nothing has come under yet
	h.tellEnded(c)
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
