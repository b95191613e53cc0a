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
// A client's file may have been stolen. Who has it can ask to come in without end, from
// many addresses, each time as another program, and come as far as to the question for
// the password. The owner has the same key. What tells him apart is where he asks from,
// and that the program that he runs has been in before. So an identity has a few pending
// clients; a network that asks for many of them takes them from itself; and so it is
// with how often it may ask.
//
// Who has the file and is at the owner's own address can't be told from him, unless the
// owner's program has been in before. Both of them get their turn, by chance.

// maxPending is how many pending clients an identity may have.
const maxPending = 8

// spareFor returns how many pending clients there may be, beyond one for each identity.
func spareFor(maxClients int) int { return maxClients/2 + 2*maxPending }

// An askers is what is known of those who ask with one key.
type askers struct {
	asking  cookie.Limiter // those that are not known yet
	settled [4]uint64      // instances that have been in, the last ones
	turn    int            // the place in settled of the next one
}

// remember notes an instance that is in.
func (a *askers) remember(instance uint64) {
	if !slices.Contains(a.settled[:], instance) {
		a.settled[a.turn] = instance
		a.turn = (a.turn + 1) % len(a.settled)
	}
}

// allows reports whether an instance that there is no client of may ask now.
func (a *askers) allows(instance uint64, from netip.AddrPort, now time.Time) bool {
	return slices.Contains(a.settled[:], instance) || a.asking.Allow(from, now)
}

// tooMany returns the pending client that has to go for one more, or nil. The caller
// holds mu.
func (m *members) tooMany(is *member) *client {
	if n := len(is.pending); n < maxPending && (n == 0 || m.spare > 0) {
		return nil
	}
	known := func(c *client) bool { return slices.Contains(is.settled[:], c.instance) }
	list := slices.DeleteFunc(slices.Clone(is.pending), known)
	if len(list) == 0 {
		return is.pending[0]
	}
	// Most of them have not even proved that they are where they ask from? One of those.
	silent := slices.DeleteFunc(slices.Clone(list), func(c *client) bool { return c.state.Load() != pending })
	if 2*len(silent) > len(list) {
		list = silent
	}
	// Of the largest site, there of the largest customer, and so on to the endpoint.
	for depth := range source.MaxNetworks + 1 {
		list = largest(list, depth)
	}
	return list[0]
}

// largest returns those of the clients, at least one, that are in the network, of a depth
// counted from the widest, that most of them are in.
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
