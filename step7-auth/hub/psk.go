package hub

import "stepvpn/step4-crypto/secure"

// Second reading, for step 8: clients with a pre-shared key of their own. In IKpsk2 the
// server knows which client asks before that key is mixed in, so it can choose the
// client's key.

var (
	needsPSK = secure.Rejected{Reason: "this client must have a pre-shared key, but asks without one", Final: true}
	noPSK    = secure.Rejected{Reason: "it has a pre-shared key, but should have none"} // for the log: the client can't read this answer
	lostPSK  = secure.Rejected{Reason: "the server does not have the pre-shared key of this client"}
)

// needsPSK reports whether a client must have a pre-shared key.
func (h *Hub) needsPSK(a Account) bool { return a.OwnPSK || h.cfg.Handshake.PSK != nil }

// choosePSK makes a request go on with the pre-shared key of its client, or returns why
// that is not possible.
func (h *Hub) choosePSK(r *secure.Request, a Account) *secure.Rejected {
	switch {
	case a.OwnPSK && a.PSK == nil:
		return &lostPSK
	case h.needsPSK(a) && !r.UsesPSK():
		return &needsPSK
	case !h.needsPSK(a) && r.UsesPSK():
		return &noPSK
	case a.OwnPSK:
		r.SetPSK(a.PSK)
	}
	return nil
}

// unreadAnswers is how many answers a client may get without coming in, before the log
// says what may be wrong. The answers may also have been lost, or the client's messages
// may be replays.
const unreadAnswers = 3

// answered counts the answers to a client that is still pending. Only the goroutine that
// answers handshakes calls it.
func (c *client) answered() {
	if c.answers++; c.answers == unreadAnswers && c.psk {
		c.log.Info("a client keeps asking, although it was answered: its pre-shared key is not the one that the server has, or the answers get lost", "peer", c.from)
	}
}
