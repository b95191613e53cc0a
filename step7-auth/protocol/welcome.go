package protocol

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"stepvpn/step4-crypto/secure"
)

// A Welcome is what the server hands out to a client that it lets in.
//
//	version | 0 or 1: login | count | count times: family 4 or 6, address, prefix length | settings
type Welcome struct {
	// Login says that no packets pass until the client has logged in.
	Login bool
	// Addrs are the client's addresses in the tunnel, each with the length of
	// the tunnel's network.
	Addrs []netip.Prefix
	// Settings are encoded by other packages. They have at most MaxSettings bytes.
	Settings []byte
}

// MaxAddrs is the largest number of addresses that a client gets, and MaxSettings the
// largest size of the settings, in bytes. Together they fit into secure.MaxPayload.
const (
	MaxAddrs    = 4
	MaxSettings = secure.MaxPayload - 3 - MaxAddrs*(1+16+1)
)

// Append appends the encoding to dst. It returns an error if the settings are too long,
// or a client can't have the addresses.
func (w Welcome) Append(dst []byte) ([]byte, error) {
	if len(w.Settings) > MaxSettings {
		return nil, fmt.Errorf("protocol: settings have at most %d bytes, not %d", MaxSettings, len(w.Settings))
	}
	if err := checkAddrs(w.Addrs); err != nil {
		return nil, err
	}
	login := byte(0)
	if w.Login {
		login = 1
	}
	dst = append(dst, version, login, byte(len(w.Addrs)))
	for _, p := range w.Addrs {
		family := byte(6)
		if p.Addr().Is4() {
			family = 4
		}
		dst = append(dst, family)
		dst = append(dst, p.Addr().AsSlice()...)
		dst = append(dst, byte(p.Bits()))
	}
	return append(dst, w.Settings...), nil
}

// ParseWelcome is the inverse of Append. The welcome keeps no reference to m.
func ParseWelcome(m []byte) (Welcome, error) {
	if len(m) > 0 && m[0] != version {
		return Welcome{}, errVersion
	}
	if len(m) < 3 || len(m) > secure.MaxPayload || m[1] > 1 {
		return Welcome{}, errFormat
	}
	w := Welcome{Login: m[1] == 1}
	count, rest := int(m[2]), m[3:]
	for range count {
		p, after, ok := cutPrefix(rest)
		if !ok {
			return Welcome{}, errFormat
		}
		w.Addrs, rest = append(w.Addrs, p), after
	}
	if err := checkAddrs(w.Addrs); err != nil {
		return Welcome{}, err
	}
	if len(rest) > MaxSettings {
		return Welcome{}, errFormat
	}
	w.Settings = slices.Clone(rest)
	return w, nil
}

// cutPrefix takes one address off m.
func cutPrefix(m []byte) (p netip.Prefix, rest []byte, ok bool) {
	if len(m) == 0 {
		return p, nil, false
	}
	n := 16
	switch m[0] {
	case 4:
		n = 4
	case 6:
	default:
		return p, nil, false
	}
	if len(m) < 1+n+1 {
		return p, nil, false
	}
	addr, _ := netip.AddrFromSlice(m[1 : 1+n])
	p = netip.PrefixFrom(addr, int(m[1+n]))
	return p, m[1+n+1:], p.IsValid()
}

// checkAddrs returns an error for addresses that no host can have in a tunnel.
func checkAddrs(addrs []netip.Prefix) error {
	if len(addrs) == 0 || len(addrs) > MaxAddrs {
		return fmt.Errorf("protocol: %d addresses: a client has 1 to %d", len(addrs), MaxAddrs)
	}
	for i, p := range addrs {
		a := p.Addr()
		if !p.IsValid() || a.Is4In6() || a.Zone() != "" || p.Bits() == 0 || !a.IsGlobalUnicast() {
			return fmt.Errorf("protocol: %v is not an address that a client can have", p)
		}
		if slices.ContainsFunc(addrs[:i], func(q netip.Prefix) bool { return q.Addr() == a }) {
			return errors.New("protocol: an address occurs twice")
		}
	}
	return nil
}
