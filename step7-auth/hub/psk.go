package hub

import "stepvpn/step4-crypto/secure"

// Second reading: clients with a pre-shared key of their own. In IKpsk2 the server knows
// who asks before that key is mixed in, so it can choose it.

var (
	needsPSK = secure.Rejected{Reason: "this client has to have a pre-shared key, and asks without one", Final: true}
	noPSK    = secure.Rejected{Reason: "it has a pre-shared key, and should have none"} // it can't read that
	lostPSK  = secure.Rejected{Reason: "the server does not have the pre-shared key of this client"}
)

// needsPSK reports whether a client has to have a pre-shared key.
func (h *Hub) needsPSK(a Account) bool { return a.OwnPSK || h.cfg.Handshake.PSK != nil }

// choosePSK has a request go on with the pre-shared key of its client, or returns why it
// can't.
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

// unreadAnswers is how many answers a client asks for, and does not come, until the log says
// what may be wrong with it. They can also have been lost, or its messages be replays.
const unreadAnswers = 3

// answered counts the answers to a client that has not come yet. It is called by who answers
// handshakes.
func (c *client) answered() {
	if c.answers++; c.answers == unreadAnswers && c.psk {
		c.log.Info("a client asks on, though it was answered: its pre-shared key is another than the server's, or the answers are lost", "peer", c.from)
	}
}
