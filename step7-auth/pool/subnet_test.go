package pool

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatSubnetsLease(t *testing.T) {
	for server, want := range map[string][]string{
		"10.8.0.1/30":        {"10.8.0.2/30"},
		"10.8.0.2/30":        {"10.8.0.1/30"},
		"10.8.0.0/31":        {"10.8.0.1/31"},
		"10.8.0.1/31":        {"10.8.0.0/31"},
		"10.8.0.3/29":        {"10.8.0.1/29", "10.8.0.2/29", "10.8.0.4/29", "10.8.0.5/29", "10.8.0.6/29"},
		"fd00:8::0/127":      {"fd00:8::1/127"},
		"fd00:8::1/127":      {"fd00:8::/127"},
		"fd00:8::2/126":      {"fd00:8::1/126", "fd00:8::3/126"},
		"223.255.255.254/30": {"223.255.255.253/30"},
		"fdff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/126": {
			"fdff:ffff:ffff:ffff:ffff:ffff:ffff:fffd/126", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/126"},
	} {
		p := opened(t, Config{Addrs: prefixes(server)})
		for n, addr := range want {
			require.Equal(t, prefixes(addr), mustLease(t, p, n, epoch), server)
		}
		_, err := p.Lease(key(len(want)), epoch)
		require.ErrorIs(t, err, ErrFull, server)
	}
}
