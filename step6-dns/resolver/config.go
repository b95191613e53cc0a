package resolver

import (
	"errors"
	"fmt"
	"net/netip"

	"stepvpn/shared/app"
)

// DefaultPort is that of DNS.
const DefaultPort = 53

// A Config says who is answered and who is asked.
type Config struct {
	// Addrs are the addresses to listen on, over UDP and TCP: those of the
	// tunnel on this host. They must be set on an interface.
	Addrs []netip.Addr

	// Device, if set, is the interface by which queries must arrive. Without it
	// the resolver is open to the neighbours of this host: Linux accepts a packet
	// to any of its addresses on any of its interfaces. With it, this host itself
	// is not answered either: its own packets arrive by lo.
	Device string

	// Port is the port to listen on. 0 means DefaultPort.
	Port uint16

	// Upstreams are the resolvers to ask, in the order of preference. There are
	// 1 to 8.
	Upstreams []netip.AddrPort

	// Client, if set, tells whose an address is, by one address for all of a client: it
	// has one share of what the resolver can do, however many addresses it asks from.
	// Several goroutines call it.
	Client func(netip.Addr) netip.Addr

	limits limits
	trial  bool // see Check
}

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
	if len(c.Addrs) == 0 {
		return app.Hint(errors.New("resolver: no address to listen on"), "Give this end of the tunnel one with -addr.")
	}
	if len(c.Addrs) > maxAddrs {
		return fmt.Errorf("resolver: %d addresses to listen on: at most %d are possible", len(c.Addrs), maxAddrs)
	}
	ours := make(map[netip.AddrPort]bool)
	for _, a := range c.Addrs {
		at := netip.AddrPortFrom(a.Unmap(), c.Port)
		switch {
		case !a.IsValid() || a.IsUnspecified() || a.IsMulticast():
			return fmt.Errorf("resolver: cannot listen on %v: it must be one address of this host", a)
		case ours[at]:
			return fmt.Errorf("resolver: address %v is given twice", a)
		}
		ours[at] = true
	}
	if err := checkUpstreams(c.Upstreams); err != nil {
		return fmt.Errorf("resolver: %w", err)
	}
	for _, u := range c.Upstreams {
		if ours[unmap(u)] {
			return app.Hint(fmt.Errorf("resolver: upstream %v is this resolver itself", u),
				"Name a resolver on the internet or in this host's network, such as 1.1.1.1.")
		}
	}
	return nil
}

// At returns where the resolver of a tunnel is, which has these addresses: at each.
func At(tunnel []netip.Prefix) []netip.Addr {
	var addrs []netip.Addr
	for _, p := range tunnel {
		addrs = append(addrs, p.Addr())
	}
	return addrs
}
