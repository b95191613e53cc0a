package transport

import (
	"log/slog"
	"net/netip"
	"slices"
)

// DefaultMaxConns is how many TCP connections of strangers a server holds, if Options
// do not say more.
const DefaultMaxConns = 64

// A connTable says which connections a TCP server keeps. A peer with whom somebody
// above has a session is in, and its connection stays; how many those can be is for
// the layer above to say. All others are strangers, whatever they send: they have a
// number of places, and no more. One too many takes the place of another stranger, the
// oldest one of the source that has most. So who has just come has time to prove who
// it is, unless a whole botnet comes with it.
//
// It is not safe for concurrent use.
type connTable struct {
	places    int                            // for strangers
	conns     map[netip.AddrPort]*serverConn // all
	in        map[netip.AddrPort]int         // sessions with a peer at this address
	strangers map[netip.Prefix][]*serverConn // by source, the oldest one first
	count     int                            // of strangers
	accepted  uint64                         // so far, or turned into strangers
}

func newConnTable(places int) *connTable {
	return &connTable{
		places:    places,
		conns:     make(map[netip.AddrPort]*serverConn),
		in:        make(map[netip.AddrPort]int),
		strangers: make(map[netip.Prefix][]*serverConn),
	}
}

// find returns the connection of a peer, or nil, and how many bytes may wait for it.
func (t *connTable) find(peer netip.AddrPort) (c *serverConn, size int) {
	if t.in[peer] > 0 {
		return t.conns[peer], outboxSize
	}
	return t.conns[peer], strangersOutbox
}

// add takes a connection in. It returns the one that is to be closed for it, or nil.
func (t *connTable) add(c *serverConn) (out *serverConn) {
	// A peer has one connection. Its earlier one has broken, or leads to another address
	// of this host.
	before := t.conns[c.peer]
	if before != nil {
		t.remove(before)
	}
	t.conns[c.peer] = c
	if t.in[c.peer] == 0 {
		out = t.addStranger(c)
	}
	if before != nil { // c has got its place, and nobody else has to go
		out = before
	}
	return out
}

// remove takes a connection out, if it is there.
func (t *connTable) remove(c *serverConn) {
	if t.conns[c.peer] == c {
		delete(t.conns, c.peer)
	}
	t.removeStranger(c)
}

// move notes that a session has another address now. It returns the connection that is
// to be closed for the one that it has left, or nil.
func (t *connTable) move(before, now netip.AddrPort) (out *serverConn) {
	if now.IsValid() {
		if t.in[now]++; t.conns[now] != nil {
			t.removeStranger(t.conns[now])
		}
	}
	if !before.IsValid() {
		return nil
	}
	if t.in[before]--; t.in[before] > 0 {
		return nil
	}
	delete(t.in, before)
	if c := t.conns[before]; c != nil {
		return t.addStranger(c)
	}
	return nil
}

func (t *connTable) addStranger(c *serverConn) (out *serverConn) {
	t.accepted++
	c.age = t.accepted
	from := sourceOf(c.peer)
	t.strangers[from] = append(t.strangers[from], c)
	t.count++
	switch {
	case len(t.strangers[from]) > t.places/2: // no source has them all
		out = t.strangers[from][0]
	case t.count > t.places:
		out = t.oldest()
	default:
		return nil
	}
	t.remove(out)
	return out
}

func (t *connTable) removeStranger(c *serverConn) {
	from := sourceOf(c.peer)
	list := t.strangers[from]
	i := slices.Index(list, c)
	if i < 0 {
		return
	}
	t.count--
	if len(list) == 1 {
		delete(t.strangers, from)
		return
	}
	t.strangers[from] = slices.Delete(list, i, i+1)
}

// oldest returns the oldest stranger of the source that has most.
func (t *connTable) oldest() (first *serverConn) {
	most := 0
	for _, list := range t.strangers {
		if n := len(list); n > most || n == most && list[0].age < first.age {
			most, first = n, list[0]
		}
	}
	return first
}

// sourceOf returns what one host can have of addresses: with IPv6, that is a /64
// network (RFC 4291, section 2.5.4).
func sourceOf(peer netip.AddrPort) netip.Prefix {
	bits := 32
	if peer.Addr().Is6() {
		bits = 64
	}
	p, _ := peer.Addr().Prefix(bits) // fails for other lengths only
	return p
}

// PeerMoved makes the server a link.PeerKeeper.
func (s *tcpServer) PeerMoved(before, now netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	giveUp(s.table.move(before, now))
}

// giveUp closes a connection, if there is one, that has to make room.
func giveUp(c *serverConn) {
	if c != nil {
		slog.Debug("too many connections, closing one", "peer", c.peer)
		c.out.end()
	}
}
