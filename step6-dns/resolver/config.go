package resolver

import (
	"errors"
	"fmt"
	"net/netip"

	"stepvpn/shared/app"
)

// complete checks a Config and fills in what was left out.
func (c *Config) complete() error {
	if c.Port == 0 {
		c.Port = DefaultPort
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

func checkUpstreams(us []netip.AddrPort) error {
	if len(us) == 0 {
		return errors.New("no upstream resolver to ask")
	}
	if len(us) > maxUpstreams {
		return fmt.Errorf("too many upstreams: at most %d are possible", maxUpstreams)
	}
	seen := make(map[netip.AddrPort]bool)
	for _, u := range us {
		switch a := u.Addr(); {
		case !u.IsValid() || a.IsUnspecified() || a.IsMulticast() || u.Port() == 0:
			return fmt.Errorf("upstream %v cannot be asked", u)
		case seen[unmap(u)]:
			return fmt.Errorf("upstream %v is given twice", u)
		}
		seen[unmap(u)] = true
	}
	return nil
}

// unmap makes of an IPv4 address in IPv6 notation a plain one.
func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
