package resolver

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Upstreams is a list of resolvers to ask, for a flag:
//
//	upstreams := resolver.Upstreams{netip.MustParseAddrPort("1.1.1.1:53")}
//	flag.Var(&upstreams, "upstream", "...")
type Upstreams []netip.AddrPort

// String gives the list as Set takes it.
func (l *Upstreams) String() string {
	var parts []string
	for _, u := range *l {
		if u.Port() == DefaultPort {
			parts = append(parts, u.Addr().String())
		} else {
			parts = append(parts, u.String())
		}
	}
	return strings.Join(parts, ",")
}

// Set reads a list of addresses, with or without a port, separated by commas,
// such as "1.1.1.1,[2606:4700:4700::1111]:53".
func (l *Upstreams) Set(list string) error {
	var us Upstreams
	for part := range strings.SplitSeq(list, ",") {
		part = strings.TrimSpace(part)
		u, err := netip.ParseAddrPort(part)
		if err != nil {
			addr, err := netip.ParseAddr(part)
			if err != nil {
				return fmt.Errorf("%q is not the address of a resolver, such as 1.1.1.1 or [2606:4700:4700::1111]:53", part)
			}
			u = netip.AddrPortFrom(addr, DefaultPort)
		}
		if us = append(us, unmap(u)); len(us) > maxUpstreams {
			break
		}
	}
	if err := checkUpstreams(us); err != nil {
		return err
	}
	*l = us
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
