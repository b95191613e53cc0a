package hub

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"stepvpn/step3-tunnel/tunnel"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/protocol"
)

// A client is one run of a client program, from its first authentic initiation (it is pending
// then, as that may be a replay) over its login to its end; see the states below. Another
// machine with the same identity is another client.
type client struct {
	hub      *Hub
	key      noise.PublicKey
	instance uint64
	name     string
	login    bool // it needs a password
	psk      bool // its pre-shared key may be wrong without its initiation showing that
	answers  int  // see answered
	prefixes []netip.Prefix
	addrs    []netip.Addr
	peer     *secure.Peer
	from     netip.AddrPort        // where it first asked from; proven once it is no longer pending
	via      atomic.Pointer[queue] // where its last message came in
	log      *slog.Logger

	newest asked // its newest initiation; guarded by directory.mu

	state   atomic.Int32
	by      atomic.Pointer[entrance] // which its newest handshake used
	expires atomic.Int64             // as Hub.clockOf returns it; 0: never
	since   atomic.Int64             // when it was let in, or when it came and had to log in; as expires
	wakeAt  atomic.Int64             // when the peer's Tick is due; 0: never

	attempts logins // its attempts to log in
	probed   probes // limits the probes that it is sent
	shaper   Shaper // see shaping.go; may be nil
	shaped   uint64 // how many packets that had dropped when this client came

	// Different goroutines count the two directions. The space keeps the counters in
	// different cache lines.
	received tunnel.Flow
	_        [64]byte
	sent     tunnel.Flow

	dropped atomic.Uint64 // packets; see Status.Dropped
	wasIn   bool          // it has been open; guarded by directory.mu until it is gone
}

// The states of a client, in the order in which it goes through them.
const (
	pending   int32 = iota // let in, but no packet has come: it may be a replay
	loggingIn              // it is there, and must give its password before packets pass
	open                   // packets pass
	gone
)

// newClient returns a pending client, which has no keys yet.
func (h *Hub) newClient(key noise.PublicKey, hello protocol.Hello, a Account, leased []netip.Prefix, k *handshake, time uint64, now time.Time) *client {
	c := &client{
		hub:      h,
		key:      key,
		instance: hello.Instance,
		newest:   asked{time, now},
		name:     a.Name,
		login:    a.NeedsPassword,
		psk:      h.needsPSK(a) || k.by.Foreign != nil,
		shaper:   a.Shaper,
		shaped:   droppedBy(a.Shaper),
		prefixes: leased,
		from:     k.from,
		log:      slog.With("client", a.Name),
	}
	c.via.Store(k.via)
	c.by.Store(k.by)
	c.since.Store(h.clockOf(now))
	for _, p := range leased {
		c.addrs = append(c.addrs, p.Addr())
	}
	c.renew(h, a)
	c.peer = k.by.responder.NewPeer(h.table, c, c.log)
	return c
}

// Wake is called by the peer: see secure.Owner.
func (c *client) Wake(at time.Time) { c.wakeAt.Store(c.hub.clockOf(at)) }

// Moved is called by the peer. It tells all sockets which client's connection to keep;
// only the socket that has that connection acts on it.
func (c *client) Moved(before, now netip.AddrPort) {
	for _, k := range c.hub.keepers {
		k.PeerMoved(before, now)
	}
}

// tell sends a message of the peer, if it is not nil, through the queue that the client's
// last message came by.
func (c *client) tell(m []byte, to netip.AddrPort) { c.via.Load().tell(m, to) }

// Control sends a control message to the client.
func (c *client) Control(kind byte, content []byte) {
	c.tell(c.peer.Control(kind, content, time.Now()))
}

// SetMTU says how long a packet the path to the client carries, in bytes. If the client
// has lied about that, its own packets get up to 15 bytes of padding too many.
func (c *client) SetMTU(mtu int) { c.peer.SetMTU(mtu) }

// Addrs returns the client's addresses.
func (c *client) Addrs() []netip.Addr { return c.addrs }

// renew takes over what the registry now says about the client.
func (c *client) renew(h *Hub, a Account) {
	if a.Expires.IsZero() {
		c.expires.Store(0)
	} else {
		c.expires.Store(h.clockOf(a.Expires))
	}
}

// refused returns why the account's client may not come in now, or nil.
func (a *Account) refused(now time.Time) *secure.Rejected {
	if !a.Expires.IsZero() && !now.Before(a.Expires) {
		return &expired
	}
	return a.Refused
}

// allows reports whether a packet of the client may have addr as its source: its allowed
// IPs are the addresses that it was given.
//
//exercise:1
func (c *client) allows(addr netip.Addr) bool { return slices.Contains(c.addrs, addr) }

// clockOf returns a time in nanoseconds since the hub was made, and never 0.
func (h *Hub) clockOf(t time.Time) int64 { return max(1, int64(t.Sub(h.start))) }
