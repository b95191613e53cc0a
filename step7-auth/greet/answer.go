package greet

import (
	"encoding/binary"
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
	// Login says that no packets pass before the client has logged in.
	Login bool
	// Addrs are the client's addresses in the tunnel, each with the length of
	// the tunnel's network.
	Addrs []netip.Prefix
	// Settings are bytes of another package, at most MaxSettings of them.
	Settings []byte
}

// A refusal takes the place of a welcome:
//
//	version | 2: ask again later, 3: final | reason
//
// or the word that the client's clock is behind (see Behind):
//
//	version | 4 | time u64
const (
	welcome = iota
	welcomeLogin
	refused
	refusedFinal
	behind
)

// MaxAddrs is the most addresses that a client gets, and MaxSettings the most
// bytes of settings. Together they fit into secure.MaxPayload.
const (
	MaxAddrs    = 4
	MaxSettings = secure.MaxPayload - 3 - MaxAddrs*(1+16+1)
)

// Append appends the encoding to dst, or says what does not fit.
func (w Welcome) Append(dst []byte) ([]byte, error) {
	if len(w.Settings) > MaxSettings {
		return nil, fmt.Errorf("greet: settings have at most %d bytes, not %d", MaxSettings, len(w.Settings))
	}
	if err := checkAddrs(w.Addrs); err != nil {
		return nil, err
	}
	kind := byte(welcome)
	if w.Login {
		kind = welcomeLogin
	}
	dst = append(dst, version, kind, byte(len(w.Addrs)))
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

// AppendRefusal appends the encoding of a refusal to dst. A reason that can't be
// shown to people is made so.
func AppendRefusal(dst []byte, r secure.Rejected) []byte {
	kind := byte(refused)
	if r.Final {
		kind = refusedFinal
	}
	dst = append(dst, version, kind)
	return append(dst, Sentence(r.Reason)...)
}

// A Behind error takes the place of a welcome if the client's hello looks like a
// copy: the server has heard a later one of its identity. A machine that has
// started anew with its clock set back asks again, with a later time than this.
type Behind struct{ Time uint64 }

func (b *Behind) Error() string { return "the server has heard of this client at a later time" }

// Append appends the encoding to dst.
func (b Behind) Append(dst []byte) []byte {
	return binary.BigEndian.AppendUint64(append(dst, version, behind), b.Time)
}

// ParseAnswer returns the welcome in m. The error is a *secure.Rejected if m is
// a well-formed refusal, and a *Behind if it says that. The welcome keeps no reference to m.
func ParseAnswer(m []byte) (Welcome, error) {
	if len(m) > 0 && m[0] != version {
		return Welcome{}, errVersion
	}
	if len(m) < 3 || len(m) > secure.MaxPayload {
		return Welcome{}, errFormat
	}
	kind, rest := m[1], m[2:]
	switch kind {
	case refused, refusedFinal:
		if !secure.PlainText(string(rest)) {
			return Welcome{}, errFormat
		}
		return Welcome{}, &secure.Rejected{Reason: string(rest), Final: kind == refusedFinal}
	case behind:
		if len(rest) != 8 {
			return Welcome{}, errFormat
		}
		return Welcome{}, &Behind{binary.BigEndian.Uint64(rest)}
	case welcome, welcomeLogin:
	default:
		return Welcome{}, errFormat
	}
	w := Welcome{Login: kind == welcomeLogin}
	count, rest := int(rest[0]), rest[1:]
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

// checkAddrs refuses addresses that no host can have in a tunnel.
func checkAddrs(addrs []netip.Prefix) error {
	if len(addrs) == 0 || len(addrs) > MaxAddrs {
		return fmt.Errorf("greet: %d addresses: a client has 1 to %d", len(addrs), MaxAddrs)
	}
	for i, p := range addrs {
		a := p.Addr()
		if !p.IsValid() || a.Is4In6() || a.Zone() != "" || p.Bits() == 0 || !a.IsGlobalUnicast() {
			return fmt.Errorf("greet: %v is not an address that a client can have", p)
		}
		if slices.ContainsFunc(addrs[:i], func(q netip.Prefix) bool { return q.Addr() == a }) {
			return errors.New("greet: an address is there twice")
		}
	}
	return nil
}

// Sentence returns s as text that passes secure.PlainText: other characters are
// replaced, and the end is cut off.
func Sentence(s string) string {
	b := make([]byte, 0, secure.MaxReason)
	for _, r := range s {
		if len(b) == secure.MaxReason {
			break
		}
		if r < ' ' || r > '~' {
			r = '?'
		}
		b = append(b, byte(r))
	}
	if len(b) == 0 {
		return "no reason given"
	}
	return string(b)
}
