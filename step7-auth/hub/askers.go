package hub

import (
	"net/netip"
	"slices"
	"time"

	"stepvpn/step7-auth/cookie"
	"stepvpn/step7-auth/source"
)

// Second reading: many who have the same key.
//
// A client's file may be stolen. A thief can ask to come in without end, from many
// addresses, each time as another program, and get as far as the question for the
// password. The owner has the same key. The owner differs from the thief only in the
// address, and in that the owner's program has been in before. So an identity has only a
// few pending clients. A network that asks for many of them displaces its own, and how
// often each network may ask is limited, too.
//
// A thief at the owner's own address can't be told from the owner, unless the owner's
// program has been in before. Which of them gets a turn is then a matter of chance.

// maxPending is the largest number of pending clients of one identity.
const maxPending = 8

// spareFor returns how many pending clients all identities together may have beyond the
// first of each.
func spareFor(maxClients int) int { return maxClients/2 + 2*maxPending }

// An askers holds what is known of the programs that ask with one key.
type askers struct {
	asking  cookie.Limiter // limits programs that have not been in yet
	settled [4]uint64      // the last instances that have been in
	turn    int            // where in settled the next one goes
}

// remember notes an instance that is in.
func (a *askers) remember(instance uint64) {
	if !slices.Contains(a.settled[:], instance) {
		a.settled[a.turn] = instance
		a.turn = (a.turn + 1) % len(a.settled)
	}
}

// allows reports whether an instance that has no client yet may ask now.
func (a *askers) allows(instance uint64, from netip.AddrPort, now time.Time) bool {
	return slices.Contains(a.settled[:], instance) || a.asking.Allow(from, now)
}

// tooMany returns the pending client that has to go to make room for one more, or nil if
// there is room. The caller holds mu.
func (d *directory) tooMany(is *identity) *client {
	if n := len(is.pending); n < maxPending && (n == 0 || d.spare > 0) {
		return nil
	}
	known := func(c *client) bool { return slices.Contains(is.settled[:], c.instance) }
	list := slices.DeleteFunc(slices.Clone(is.pending), known)
	if len(list) == 0 {
		return is.pending[0]
	}
	// If most of them have sent nothing since, and so may be replays, choose one of those.
	silent := slices.DeleteFunc(slices.Clone(list), func(c *client) bool { return c.state.Load() != pending })
	if 2*len(silent) > len(list) {
		list = silent
	}
	// Choose from the site with the most of them, there from the customer with the most,
	// and so on down to the endpoint.
	for depth := range source.MaxNetworks + 1 {
		list = largest(list, depth)
	}
	return list[0]
}

// largest returns the clients in the network that has the most of them, at least one. depth
// selects the size of the networks: 0 is the widest.
func largest(list []*client, depth int) (most []*client) {
	groups := make(map[any][]*client)
	for _, c := range list {
		var at any = c.from
		if networks := source.Networks(nil, c.from.Addr()); depth < len(networks) {
			at = networks[depth]
		}
		groups[at] = append(groups[at], c)
		if len(groups[at]) > len(most) {
			most = groups[at]
		}
	}
	return most
}
