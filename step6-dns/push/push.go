// Package push encodes the tunnel's settings that a server hands to its clients when
// they connect. They travel in the encrypted payload of the handshake. In step 6 anybody who
// has the shared key can send them; from step 7 on, only the server. Introduced in step 6.
//
// The encoding is a version, and then items:
//
//	version u8 (1) | { type u8 | length u8 | value }...
//
//	type 1  DNS     4 or 16 bytes, an address of a resolver
//	type 2  search  1 to 253 bytes, a search domain in ASCII
//
// An item may occur more than once, and the order matters. An item of a type that
// the client does not know is skipped: that is how a newer server adds settings
// without a new version. The version changes only if an old client would do something
// wrong by skipping. A server without settings, such as one of steps 4 and 5, sends an
// empty payload.
//
// The client asks whatever resolver the server names. But it checks the form of every
// value here, because the values end up in files that other programs parse.
package push

import (
	"fmt"
	"net/netip"
	"strings"
)

// Limits on Settings. glibc looks at three resolvers and, before version
// 2.26, at six search domains (resolv.conf(5)).
const (
	MaxDNS    = 3
	MaxSearch = 6
	maxDomain = 253 // bytes, without the final dot (RFC 1035, section 2.3.4)
)

const version = 1

// Types of items.
const (
	typeDNS    = 1
	typeSearch = 2
)

// Settings are the settings that a server hands out. The zero value has none.
type Settings struct {
	DNS    []netip.Addr // resolvers to ask through the tunnel; the first is preferred
	Search []string     // domains to try for a name without dots, such as "corp.example"
}

// Marshal encodes the settings, in at most 1 + MaxDNS×18 + MaxSearch×255 bytes. It
// returns an error if Parse would refuse them.
func (s Settings) Marshal() ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	b := []byte{version}
	for _, a := range s.DNS {
		b = Item{typeDNS, a.AsSlice()}.Append(b)
	}
	for _, d := range s.Search {
		b = Item{typeSearch, []byte(d)}.Append(b)
	}
	return b, nil
}

// Parse decodes settings, and returns an error if they are cut off or not plausible.
func Parse(b []byte) (Settings, error) {
	items, err := Items(b)
	if err != nil {
		return Settings{}, err
	}
	var s Settings
	for _, i := range items {
		switch i.Type {
		case typeDNS:
			a, ok := netip.AddrFromSlice(i.Value)
			if !ok {
				return Settings{}, fmt.Errorf("settings: a resolver's address of %d bytes", len(i.Value))
			}
			s.DNS = append(s.DNS, a)
		case typeSearch:
			s.Search = append(s.Search, string(i.Value))
		}
	}
	if err := s.check(); err != nil {
		return Settings{}, fmt.Errorf("settings: %w", err)
	}
	return s, nil
}

// check returns what is wrong with the settings.
func (s Settings) check() error {
	if len(s.DNS) > MaxDNS {
		return fmt.Errorf("%d resolvers, at most %d are possible", len(s.DNS), MaxDNS)
	}
	if len(s.Search) > MaxSearch {
		return fmt.Errorf("%d search domains, at most %d are possible", len(s.Search), MaxSearch)
	}
	for _, a := range s.DNS {
		// A loopback address is the client itself; at the others there is no resolver.
		if !a.IsValid() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.Is4In6() || a.Zone() != "" || a.IsLinkLocalUnicast() {
			return fmt.Errorf("%v cannot be a resolver's address", a)
		}
	}
	for _, d := range s.Search {
		if err := CheckDomain(d); err != nil {
			return err
		}
	}
	return nil
}

// CheckDomain returns an error unless d is a domain name as hosts have it: labels of
// letters, digits, hyphens and underscores, joined by dots (RFC 1123, section
// 2.1). Such a name is safe to write into a file or a command line.
func CheckDomain(d string) error {
	if len(d) > maxDomain {
		return fmt.Errorf("a domain of %d bytes, at most %d are possible", len(d), maxDomain)
	}
	for label := range strings.SplitSeq(d, ".") {
		if len(label) < 1 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.Trim(label, letters) != "" {
			return fmt.Errorf("%q is not a domain, such as corp.example", d)
		}
	}
	return nil
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
