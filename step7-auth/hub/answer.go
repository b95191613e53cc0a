package hub

import (
	"log/slog"
	"net/netip"
	"time"

	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/protocol"
)

// This file has the answers to an initiation: accepted, with a Welcome; your clock is behind;
// refused, with a reason.

// accept gives a client new keys, and returns the answer with its half of the handshake.
func (h *Hub) accept(request *secure.Request, c *client, a Account, next bool, now time.Time) []byte {
	c.renew(h, a)
	c.next.Store(next)
	if c.state.Load() == pending {
		c.since.Store(h.clockOf(now)) // it has asked once more
		c.answered()
	}
	payload, err := protocol.Welcome{
		Login:    c.login && c.state.Load() != open,
		Addrs:    c.prefixes,
		Settings: h.entrance(next).Settings,
	}.Append(nil)
	if err != nil {
		c.log.Error("a client can't be welcomed", "error", err)
		return h.refuse(request, netip.AddrPort{}, c.name, noAddress)
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
	return answer
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
func (h *Hub) refuse(request *secure.Request, from netip.AddrPort, name string, why secure.Rejected) []byte {
	h.logRefusal(name, from, why.Reason)
	return request.Refuse(why)
}

// refuseOlder is refuse for any client that speaks an older version of the protocol.
func (h *Hub) refuseOlder(request *secure.Request, from netip.AddrPort, name string) []byte {
	h.logRefusal(name, from, "it speaks an older version of the protocol: update it")
	return request.RefuseOlder()
}

func (h *Hub) logRefusal(name string, from netip.AddrPort, why string) {
	slog.Info("a client is refused", "client", name, "peer", from, "reason", why)
	h.drops.Add(Refused)
}
