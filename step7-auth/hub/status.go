package hub

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"stepvpn/step4-crypto/noise"
)

// A Status is what an operator sees of one client.
type Status struct {
	Name      string
	Key       noise.PublicKey
	Addrs     []netip.Addr
	Endpoint  netip.AddrPort // where it was heard last
	Handshake time.Time      // when its current keys came into use
	Heard     time.Time      // when it was heard last
	LoggedIn  bool           // packets pass

	// What came from the client and what went to it, IP packets and their bytes.
	ReceivedPackets, ReceivedBytes uint64
	SentPackets, SentBytes         uint64
}

// Snapshot returns who is there, in the order of their names.
func (h *Hub) Snapshot() []Status {
	var list []Status
	for _, c := range h.members.all(nil) {
		state := c.state.Load()
		if state == pending || state == gone {
			continue
		}
		s := c.peer.Status()
		list = append(list, Status{
			Name:            c.name,
			Key:             c.key,
			Addrs:           slices.Clone(c.addrs),
			Endpoint:        s.Peer,
			Handshake:       s.Since,
			Heard:           s.Heard,
			LoggedIn:        state == open,
			ReceivedPackets: c.received.Packets(),
			ReceivedBytes:   c.received.Bytes(),
			SentPackets:     c.sent.Packets(),
			SentBytes:       c.sent.Bytes(),
		})
	}
	slices.SortFunc(list, func(a, b Status) int { return cmp.Compare(a.Name, b.Name) })
	return list
}
