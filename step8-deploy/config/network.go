package config

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"stepvpn/step6-dns/push"
	"stepvpn/step8-deploy/reach"
)

// This file reads texts about networks: interfaces, addresses, ports, networks, domains.

// maxInterfaceName is the length of the longest name of an interface
// (IFNAMSIZ - 1 in the kernel's linux/if.h), in bytes.
const maxInterfaceName = 15

var interfaceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.@-]*$`)

// readInterface reads the name of an interface.
func readInterface(s string) (string, error) {
	if !interfaceName.MatchString(s) || len(s) > maxInterfaceName {
		return "", fmt.Errorf("is %s, which is not the name of an interface", quote(s))
	}
	return s, nil
}

// readListen reads "ADDRESS:PORT", or ":PORT", which means that port of all addresses.
func readListen(s string) (netip.AddrPort, error) {
	if port, ok := strings.CutPrefix(s, ":"); ok {
		s = "[::]:" + port
	}
	return readAddrPort(s)
}

// readAddrPort reads "ADDRESS:PORT".
func readAddrPort(s string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(s)
	switch {
	case err != nil:
		return a, fmt.Errorf("is %s, not an address with a port", quote(s))
	case a.Port() == 0:
		return a, errors.New("has the port 0")
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}

// dnsPort is the port of resolvers (RFC 1035, section 4.2).
const dnsPort = 53

// readUpstream reads "ADDRESS" or "ADDRESS:PORT".
func readUpstream(s string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		ap, err := readAddrPort(s)
		if err != nil {
			return ap, fmt.Errorf("is %s, not an address", quote(s))
		}
		return ap, usable(ap.Addr())
	}
	return netip.AddrPortFrom(a.Unmap(), dnsPort), usable(a)
}

// usable returns an error if the address can't be that of a single host.
func usable(a netip.Addr) error {
	if a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return fmt.Errorf("is %v, which is not the address of a host", a)
	}
	return nil
}

// readOpening reads what clients can reach of the server itself, such as "tcp:22".
func readOpening(s string) (reach.Opening, error) {
	o, err := reach.Parse(s)
	if err != nil {
		return o, fmt.Errorf("is %s, which %w", quote(s), err)
	}
	return o, nil
}

// readReach makes sure that an empty list is not nil, because nil means that the key is missing.
func readReach(set setter[Server]) setter[Server] {
	return func(s *Server, v any) error {
		err := set(s, v)
		if s.Reach == nil {
			s.Reach = []reach.Opening{}
		}
		return err
	}
}

// readSubnet reads the server's address in a subnet, such as 10.8.0.1/24. The subnet must have
// room for the server and a client.
func readSubnet(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("is %s, not an address with a prefix length", quote(s))
	}
	a := p.Addr()
	if a.Is4In6() {
		return p, fmt.Errorf("is %s, an IPv4 address in the form of IPv6", quote(s))
	}
	if err := usable(a); err != nil {
		return p, err
	}
	if a.IsLoopback() || a.IsLinkLocalUnicast() {
		return p, fmt.Errorf("is %v, which stays on one host or link", p)
	}
	host := a.BitLen() - p.Bits()
	switch {
	case host < 2:
		return p, fmt.Errorf("is %v, which has no room for a client", p)
	case p.Bits() < 8:
		return p, fmt.Errorf("is %v, which is too large for a subnet", p)
	case a == p.Masked().Addr():
		return p, fmt.Errorf("is %v, the address of the subnet itself; the server needs one in it, such as %v",
			p, netip.PrefixFrom(a.Next(), p.Bits()))
	case a.Is4() && !p.Contains(a.Next()):
		return p, fmt.Errorf("is %v, the broadcast address of the subnet", p)
	}
	return p, nil
}

// readRoute reads a destination, such as 10.0.0.0/8.
func readRoute(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, fmt.Errorf("is %s, not a network with a prefix length", quote(s))
	case p.Addr().Is4In6():
		return p, fmt.Errorf("is %s, an IPv4 address in the form of IPv6", quote(s))
	case p != p.Masked():
		return p, fmt.Errorf("is %v, an address inside of the network %v", p, p.Masked())
	case p.Bits() == 0:
		return p, fmt.Errorf(`is %v; write routes = "everything" instead`, p)
	case p.Addr().IsMulticast() || p.Addr().IsLoopback() || p.Addr().Is6() && p.Addr().IsLinkLocalUnicast():
		return p, fmt.Errorf("is %v, which never leaves a host or a link", p)
	}
	return p, nil
}

// readDomain reads a domain name, in its ASCII form. The result is in lower case, without a dot
// at the end.
func readDomain(s string) (string, error) {
	name := strings.TrimSuffix(strings.ToLower(s), ".")
	if push.CheckDomain(name) != nil {
		return "", fmt.Errorf("is %s, which is not a domain", quote(s))
	}
	return name, nil
}

// readEndpoint reads "HOST:PORT", where HOST is a name, an IPv4 address, or an
// IPv6 address in brackets.
func readEndpoint(s string) (Endpoint, error) {
	if a, err := readAddrPort(s); err == nil {
		return Endpoint{a.Addr().String(), a.Port()}, usable(a.Addr())
	}
	host, digits, ok := strings.Cut(s, ":")
	if !ok {
		return Endpoint{}, fmt.Errorf("is %s, without a port", quote(s))
	}
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || port == 0 {
		return Endpoint{}, fmt.Errorf("is %s, which does not end in a port", quote(s))
	}
	name, err := readDomain(host)
	if err != nil || strings.Trim(host, "0123456789.") == "" {
		return Endpoint{}, fmt.Errorf("is %s, which does not begin with a name or an address", quote(s))
	}
	return Endpoint{name, uint16(port)}, nil
}

// String returns "HOST:PORT", with brackets where they are needed.
func (e Endpoint) String() string {
	if a, err := netip.ParseAddr(e.Host); err == nil {
		return netip.AddrPortFrom(a, e.Port).String()
	}
	return fmt.Sprintf("%s:%d", e.Host, e.Port)
}
