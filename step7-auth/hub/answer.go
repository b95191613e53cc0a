package hub

import (
	"log/slog"
	"time"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/protocol"
)

// This file has the answers to an initiation: accepted, with a Welcome; your clock is behind;
// refused, with a reason.

// accept gives a client new keys, and returns the answer with its half of the handshake.
func (h *Hub) accept(request *secure.Request, c *client, a Account, k *handshake, now time.Time) []byte {
	c.renew(h, a)
	c.by.Store(k.by)
	if c.state.Load() == pending {
		c.since.Store(h.clockOf(now)) // it has asked once more
		c.answered()
	}
	payload, err := k.by.welcome(c)
	if err != nil {
		c.log.Error("a client can't be welcomed", "error", err)
		return h.refuse(request, k, c.name, noAddress)
	}
	answer, err := request.Accept(c.peer, payload, now)
	if err != nil {
		h.drops.Add(secure.BadTag)
		return nil
	}
	if c.state.Load() == gone { // meanwhile
		c.peer.Close(secure.Rejected{}, now)
		return nil
	}
	return k.by.sign(answer, c.key, asked{request.Time(), now})
}

// welcome returns what a client is told in the answer to its initiation.
func (e *entrance) welcome(c *client) ([]byte, error) {
	if e.Foreign != nil {
		return nil, nil
	}
	return protocol.Welcome{
		Login:    c.login && c.state.Load() != open,
		Addrs:    c.prefixes,
		Settings: e.Settings,
	}.Append(nil)
}

// sayBehind returns the answer that tells a client that its clock is behind this time,
// or nil if time is 0. Somebody who replays an initiation can't read that answer.
func (h *Hub) sayBehind(request *secure.Request, time uint64) []byte {
	if time == 0 {
		return nil
	}
	return request.Behind(time)
}

// refuse returns the answer that tells a client why it is not let in.
func (h *Hub) refuse(request *secure.Request, k *handshake, name string, why secure.Rejected) []byte {
	h.logRefusal(name, request.PeerStatic(), k, why.Reason)
	return request.Refuse(why)
}

// refuseOlder is refuse for any client that speaks an older version of the protocol.
func (h *Hub) refuseOlder(request *secure.Request, k *handshake, name string) []byte {
	h.logRefusal(name, request.PeerStatic(), k, "it speaks an older version of the protocol: update it")
	return request.RefuseOlder()
}

func (h *Hub) logRefusal(name string, key noise.PublicKey, k *handshake, why string) {
	h.turnedAway(name, key, k, why)
	if k.by.Foreign == nil || k.by.refusals.isNew(name, why, k.at) {
		slog.Info("a client is refused", "client", name, "peer", k.from, "reason", why)
	}
	h.drops.Add(Refused)
}
