package transport

import (
	"net/netip"
	"slices"
)

// A connTable decides which connections a TCP server keeps when there are too many. A peer
// that the layer above has named (see link.PeerKeeper) keeps its connection: in step 3 that
// is the one peer of Follow, later each peer with a session. The layer above bounds how
// many there are. All other peers are strangers, whatever
// they send, and have a fixed number of places. If there are none left, a new stranger
// takes the place of another one: the oldest connection of the source that has most, at the
// site that has most. So a newcomer has time to prove who it is, unless a whole botnet comes with it.
//
// It is not safe for concurrent use.
type connTable struct {
	places    int                            // for strangers
	conns     map[netip.AddrPort]*serverConn // all
	in        map[netip.AddrPort]int         // peers, or sessions, that the layer above has named at this address
	strangers map[netip.Prefix][]*serverConn // by source, the oldest one first
	sites     map[netip.Prefix]int           // how many strangers each site has
	count     int                            // of strangers
	accepted  uint64                         // so far, or turned into strangers
}

// DefaultMaxConns is how many TCP connections of strangers a server holds, unless
// Options ask for more.
const DefaultMaxConns = 64

func newConnTable(places int) *connTable {
	return &connTable{
		places:    places,
		conns:     make(map[netip.AddrPort]*serverConn),
		in:        make(map[netip.AddrPort]int),
		strangers: make(map[netip.Prefix][]*serverConn),
		sites:     make(map[netip.Prefix]int),
	}
}

// find returns the connection of a peer, or nil, and how many bytes may wait for it.
func (t *connTable) find(peer netip.AddrPort) (c *serverConn, size int) {
	if t.in[peer] > 0 {
		return t.conns[peer], outboxSize
	}
	return t.conns[peer], strangersOutbox
}

// add adds a connection. It returns the connection to close in exchange, or nil.
func (t *connTable) add(c *serverConn) (out *serverConn) {
	// A peer has one connection. An earlier one has broken, or was made to another
	// address of this host.
	before := t.conns[c.peer]
	if before != nil {
		t.remove(before)
	}
	t.conns[c.peer] = c
	if t.in[c.peer] == 0 {
		out = t.addStranger(c)
	}
	if before != nil { // c takes its place, and no other connection has to go
		out = before
	}
	return out
}

// remove removes a connection, if it is there.
func (t *connTable) remove(c *serverConn) {
	if t.conns[c.peer] == c {
		delete(t.conns, c.peer)
	}
	t.removeStranger(c)
}

// move notes that a session has another address now. The connection that it has left
// becomes a stranger's; move returns the connection to close in exchange, or nil.
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
	from, site := sourceOf(c.peer.Addr()), siteOf(c.peer.Addr())
	t.strangers[from] = append(t.strangers[from], c)
	t.sites[site]++
	t.count++
	if t.sites[site] <= t.places/2 && t.count <= t.places { // no site may have all places
		return nil
	}
	out = t.oldest()
	t.remove(out)
	return out
}

func (t *connTable) removeStranger(c *serverConn) {
	from, site := sourceOf(c.peer.Addr()), siteOf(c.peer.Addr())
	list := t.strangers[from]
	i := slices.Index(list, c)
	if i < 0 {
		return
	}
	t.count--
	if t.sites[site]--; t.sites[site] == 0 {
		delete(t.sites, site)
	}
	if len(list) == 1 {
		delete(t.strangers, from)
		return
	}
	t.strangers[from] = slices.Delete(list, i, i+1)
}

// oldest returns the oldest stranger of the source that has most, at the site that has most.
func (t *connTable) oldest() (first *serverConn) {
	most := [2]int{}
	for from, list := range t.strangers {
		n := [2]int{t.sites[siteOf(from.Addr())], len(list)}
		if c := slices.Compare(n[:], most[:]); c > 0 || c == 0 && list[0].age < first.age {
			most, first = n, list[0]
		}
	}
	return first
}

// sourceOf returns the range of addresses that a single host can use: with IPv6, that
// is a /64 network (RFC 4291, section 2.5.4).
func sourceOf(addr netip.Addr) netip.Prefix { return around(addr, 64) }

// siteOf returns the range of addresses that a single party may have: with IPv6, that is up
// to a /48 network (RFC 6177, section 2).
func siteOf(addr netip.Addr) netip.Prefix { return around(addr, 48) }

// around returns the network of so many bits around an IPv6 address, or an IPv4 address by itself.
func around(addr netip.Addr, bits int) netip.Prefix {
	if addr.Is4() {
		bits = 32
	}
	p, _ := addr.Prefix(bits) // fails for other lengths only
	return p
}
