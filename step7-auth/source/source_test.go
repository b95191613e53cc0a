package source

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNetworks(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.77":                    "[192.0.2.0/24 192.0.2.77/32]",
		"::ffff:192.0.2.77":             "[192.0.2.0/24 192.0.2.77/32]",
		"2001:db8:1234:5678:9abc::1":    "[2001:db8:1234::/48 2001:db8:1234:5600::/56 2001:db8:1234:5678::/64 2001:db8:1234:5678:9abc::1/128]",
		"fe80::1%eth0":                  "[fe80::/48 fe80::/56 fe80::/64 fe80::1/128]",
		"2001:db8:ffff:ffff:ffff::ffff": "[2001:db8:ffff::/48 2001:db8:ffff:ff00::/56 2001:db8:ffff:ffff::/64 2001:db8:ffff:ffff:ffff::ffff/128]",
	} {
		require.Equal(t, want, fmt.Sprint(Networks(nil, netip.MustParseAddr(addr))))
	}
	require.Empty(t, Networks(nil, netip.Addr{}))
	var room [MaxNetworks]netip.Prefix
	require.Zero(t, testing.AllocsPerRun(100, func() { Networks(room[:0], netip.MustParseAddr("2001:db8::1")) }))
}
