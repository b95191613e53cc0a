package hub

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
)

// A Status is what an operator sees about one client.
type Status struct {
	Name      string
	Key       noise.PublicKey
	Addrs     []netip.Addr
	Endpoint  netip.AddrPort // where it was heard last
	Since     time.Time      // when it came in; no two sessions of a client have the same
	Handshake time.Time      // when its current keys came into use
	Heard     time.Time      // when it was heard last
	LoggedIn  bool           // its packets pass
	By        string         // the entrance that it uses: see Entrance.Name

	// Counts of IP packets, and of their bytes: received from the client, and sent to it.
	ReceivedPackets, ReceivedBytes uint64
	SentPackets, SentBytes         uint64
	// Dropped counts packets from it and to it that were dropped, for a reason that has to do
	// with this client: what outsiders send in its name is not counted here.
	Dropped uint64
}

// String describes the client in one line.
func (s Status) String() string {
	state := ""
	if !s.LoggedIn {
		state = ", not logged in"
	}
	return fmt.Sprintf("%s %v at %v, keys %v old, received %d packets (%d bytes), sent %d packets (%d bytes)%s",
		s.Name, s.Addrs, s.Endpoint, time.Since(s.Handshake).Round(time.Second),
		s.ReceivedPackets, s.ReceivedBytes, s.SentPackets, s.SentBytes, state)
}

// maxListed bounds what String prints.
const maxListed = 100

// String says how many clients there are, and lists the first 100, one per line.
func (h *Hub) String() string {
	list := h.Snapshot()
	var b strings.Builder
	fmt.Fprintf(&b, "%d clients", len(list))
	for i, s := range list {
		if i == maxListed {
			b.WriteString("\n  ...")
			break
		}
		fmt.Fprintf(&b, "\n  %v", s)
	}
	return b.String()
}

// Snapshot returns the clients that are there, sorted by name. String prints it; step 8's
// status and metrics are made of it.
func (h *Hub) Snapshot() []Status {
	var list []Status
	for _, c := range h.directory.all(nil) {
		state := c.state.Load()
		if state == pending || state == gone {
			continue
		}
		list = append(list, c.status(state == open))
	}
	slices.SortFunc(list, func(a, b Status) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

func (c *client) status(in bool) Status {
	s := c.peer.Status()
	return Status{
		Name:            c.name,
		Key:             c.key,
		Addrs:           slices.Clone(c.addrs),
		Endpoint:        s.Peer,
		Since:           c.hub.start.Add(time.Duration(c.since.Load())),
		Handshake:       s.Since,
		Heard:           s.Heard,
		LoggedIn:        in,
		By:              c.by.Load().Name,
		ReceivedPackets: c.received.Packets(),
		ReceivedBytes:   c.received.Bytes(),
		SentPackets:     c.sent.Packets(),
		SentBytes:       c.sent.Bytes(),
		Dropped:         c.dropped.Load() + droppedBy(c.shaper) - c.shaped,
	}
}

// drop counts a packet from a client or to it that is dropped.
func (c *client) drop(why link.Reason) {
	c.dropped.Add(1)
	c.hub.drops.Add(why)
}

// tellEnded tells Config.Ended of a client that is gone. Its peer must not be closed yet, as that
// would have no keys.
func (h *Hub) tellEnded(c *client) {
	if h.cfg.Ended != nil && c.wasIn {
		h.cfg.Ended(c.status(true))
	}
}
