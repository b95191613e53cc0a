package resolver

import (
	"errors"
	"fmt"
	"net/netip"
)

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
