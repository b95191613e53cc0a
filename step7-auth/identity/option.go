package identity

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// setOption reads one option of a client.
func (c *Client) setOption(name, value string) (err error) {
	switch name {
	case "addr":
		c.Addrs, err = ParseAddrs(value)
	case "expires":
		c.Expires, err = ParseExpiry(value)
	case "password":
		c.Password, err = ParsePasswordHash(value)
	case "psk":
		if c.OwnPSK = value == "own"; !c.OwnPSK {
			err = errors.New("psk= must be psk=own: the key itself does not belong here")
		}
	default:
		err = c.setOther(name, value) // newoption.go
	}
	return err
}

// ParseAddrs reads the value of the option addr: addresses separated by commas.
func ParseAddrs(s string) ([]netip.Addr, error) {
	var addrs []netip.Addr
	for part := range strings.SplitSeq(s, ",") {
		a, err := netip.ParseAddr(part)
		if err != nil {
			return nil, fmt.Errorf("%s is not an address, such as 10.8.0.7 or fd00:8::7", quote(part))
		}
		if a.Zone() != "" || a.Is4In6() || !a.IsGlobalUnicast() {
			return nil, fmt.Errorf("%s is not an address that a client can have in the tunnel", quote(part))
		}
		if slices.Contains(addrs, a) {
			return nil, fmt.Errorf("the address %v is given twice", a)
		}
		if addrs = append(addrs, a); len(addrs) > maxAddrs {
			return nil, fmt.Errorf("more than %d addresses for one client", maxAddrs)
		}
	}
	return addrs, nil
}

// ParseExpiry reads the value of the option expires: a moment (RFC 3339), or a
// day, which stands for its first moment in UTC.
func ParseExpiry(s string) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		// Reject years long past: the zero time would mean "never".
		if t, err := time.Parse(layout, s); err == nil && t.Year() >= 2000 {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%s is not a time, such as 2026-12-31 or 2026-12-31T18:00:00Z", quote(s))
}
