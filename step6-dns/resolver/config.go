package resolver

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"stepvpn/shared/app"
)

// DefaultPort is that of DNS.
const DefaultPort = 53

// A Config says who is answered and who is asked.
type Config struct {
	// Addrs are the addresses to listen on, over UDP and TCP: those of the tunnel on this host, 1 to 16. They must be
	// set on an interface.
	Addrs []netip.Addr

	// Device, if set, is the interface by which queries must arrive. Without it the resolver is open to the neighbours
	// of this host: Linux accepts a packet to any of its addresses on any of its interfaces. With it, this host itself is
	// not answered either: its own packets arrive by lo.
	Device string

	// Port is the port to listen on. 0 means DefaultPort.
	Port uint16

	// Upstreams are the resolvers to ask, in the order of preference, 1 to 8.
	Upstreams []netip.AddrPort

	// Client, if set, tells whose an address is, by one address for all of a client: it has one share of what the
	// resolver can do, however many addresses it asks from. Several goroutines call it.
	Client func(netip.Addr) netip.Addr

	limits limits
	trial  bool // see Check
}

// What is bounded, and can't be set.
const (
	maxAddrs     = 16
	maxUpstreams = 8

	maxQuery = 4096 // bytes of a query. One with the longest name and a dozen options is far below it.
	maxUDP   = 1232 // bytes of an answer over UDP, both ways: it needs no fragments on any path of IPv6 (RFC 9715)

	maxWaiting          = 4096 // queries that wait for an upstream. Each costs a goroutine, and often a socket.
	maxWaitingPerClient = 1024
	readers             = 4 // queries of a UDP socket that are worked on at a time

	maxConns          = 256 // TCP connections of clients
	maxConnsPerClient = 16
	maxPipelined      = 64 // queries of one connection that wait; then it is not read

	maxEntries = 10_000   // of the cache
	maxBytes   = 16 << 20 // of the cache

	errorPause = 100 * time.Millisecond // after an error of a socket
)

// limits are the times, which tests make shorter.
type limits struct {
	try, total  time.Duration // that an upstream may take, growing by half with each round; that a client waits
	down        time.Duration // that an upstream is not preferred after downAfter failures
	failure     time.Duration // that SERVFAIL is remembered. RFC 9520, section 3.2, asks for 1 s at least.
	idle, write time.Duration // of a TCP connection without a query; that a client may take to accept an answer
	now         func() time.Time
}

// Most clients wait for 5 s before they ask again; they should hear before.
var defaultLimits = limits{try: time.Second, total: 4500 * time.Millisecond, down: 10 * time.Second, failure: time.Second,
	idle: 10 * time.Second, write: 2 * time.Second, now: time.Now}

// complete checks a Config and fills in what was left out.
func (c *Config) complete() error {
	if c.Port == 0 {
		c.Port = DefaultPort
	}
	if c.Client == nil {
		c.Client = func(a netip.Addr) netip.Addr { return a }
	}
	if c.limits.now == nil {
		c.limits = defaultLimits
	}
	switch {
	case len(c.Addrs) == 0:
		return app.Hint(errors.New("resolver: no address to listen on"), "Give this end of the tunnel one with -addr.")
	case len(c.Addrs) > maxAddrs:
		return fmt.Errorf("resolver: %d addresses to listen on: at most %d are possible", len(c.Addrs), maxAddrs)
	case len(c.Upstreams) == 0:
		return errors.New("resolver: no upstream resolver to ask")
	case len(c.Upstreams) > maxUpstreams:
		return fmt.Errorf("resolver: too many upstreams: at most %d are possible", maxUpstreams)
	}
	single := func(a netip.Addr) bool { return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() }
	ours, theirs := make(map[netip.AddrPort]bool), make(map[netip.AddrPort]bool)
	for _, a := range c.Addrs {
		at := netip.AddrPortFrom(a.Unmap(), c.Port)
		if !single(a) {
			return fmt.Errorf("resolver: cannot listen on %v: it must be one address of this host", a)
		} else if ours[at] {
			return fmt.Errorf("resolver: address %v is given twice", a)
		}
		ours[at] = true
	}
	for _, u := range c.Upstreams {
		switch at := netip.AddrPortFrom(u.Addr().Unmap(), u.Port()); {
		case !single(u.Addr()) || u.Port() == 0:
			return fmt.Errorf("resolver: upstream %v cannot be asked", u)
		case theirs[at]:
			return fmt.Errorf("resolver: upstream %v is given twice", u)
		case ours[at]:
			return app.Hint(fmt.Errorf("resolver: upstream %v is this resolver itself", u),
				"Name a resolver on the internet or in this host's network, such as 1.1.1.1.")
		default:
			theirs[at] = true
		}
	}
	return nil
}

// At returns where the resolver of a tunnel is, which has these addresses: at each.
func At(tunnel []netip.Prefix) (addrs []netip.Addr) {
	for _, p := range tunnel {
		addrs = append(addrs, p.Addr())
	}
	return addrs
}
