package tun

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// A Config is refused before anything is made, with a sentence.
func TestBadConfig(t *testing.T) {
	for _, c := range []struct {
		want   string
		config Config
	}{
		{`device name "a-name-of-16-byt" is too long`, Config{Name: "a-name-of-16-byt"}},
		{`device name "vpn/0" is not allowed`, Config{Name: "vpn/0"}},
		{`device name "vpn%d" is not allowed`, Config{Name: "vpn%d"}},
		{`device name "a:b" is not allowed`, Config{Name: "a:b"}},
		{`device name "a b" is not allowed`, Config{Name: "a b"}},
		{`device name "a\x00b" is not allowed`, Config{Name: "a\x00b"}},
		{`device name "né" is not allowed`, Config{Name: "né"}},
		{`device name ".." is not allowed`, Config{Name: ".."}},
		{`MTU 67 is not between 68 and 65535`, Config{MTU: 67}},
		{`MTU 65536 is not between 68 and 65535`, Config{MTU: 65536}},
		{`MTU -1 is not between 68 and 65535`, Config{MTU: -1}},
		{`MTU 1279 is too small for the IPv6 address fd00:8::1/64`, Config{MTU: 1279, Addrs: prefixes("fd00:8::1/64")}},
		{`17 addresses: a device gets at most 16`, Config{Addrs: slices.Repeat(prefixes("10.8.0.1/24"), 17)}},
		{`invalid Prefix is not an address that a device can have`, Config{Addrs: make([]netip.Prefix, 1)}},
		{`0.0.0.0/24 is not an address that a device can have`, Config{Addrs: prefixes("0.0.0.0/24")}},
		{`224.0.0.1/24 is not an address that a device can have`, Config{Addrs: prefixes("224.0.0.1/24")}},
		{`ff02::1/64 is not an address that a device can have`, Config{Addrs: prefixes("ff02::1/64")}},
		{`::ffff:10.8.0.1/120 is not an address that a device can have`, Config{Addrs: prefixes("::ffff:10.8.0.1/120")}},
	} {
		dev, err := Open(c.config)
		require.Nil(t, dev)
		require.EqualError(t, err, c.want)
	}
}

func TestGoodConfig(t *testing.T) {
	for _, c := range []Config{
		{MTU: 68},
		{Name: strings.Repeat("x", 15), MTU: 65535},
		{Name: "vpn-0.1_@", MTU: 1280, Addrs: prefixes("10.8.0.1/24", "fd00:8::1/64", "fe80::1/64")},
	} {
		require.NoError(t, c.check())
	}
}
