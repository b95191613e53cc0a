package reach

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for _, s := range []string{"server", "tcp:22", "udp:65535", "192.0.2.7:443", "[2001:db8::7]:443"} {
		o, err := Parse(s)
		require.NoError(t, err, s)
		require.Equal(t, s, o.String())
	}
	mapped, err := Parse("[::ffff:192.0.2.7]:443")
	require.NoError(t, err)
	require.Equal(t, "192.0.2.7:443", mapped.String())
	for s, why := range map[string]string{
		"":                   "is neither an address with a port nor a protocol with one",
		"22":                 "is neither an address with a port nor a protocol with one",
		"192.0.2.7":          "is neither an address with a port nor a protocol with one",
		"sctp:22":            "is neither an address with a port nor a protocol with one",
		"[fe80::1%eth0]:22":  "is neither an address with a port nor a protocol with one",
		"tcp:ssh":            "does not end in a port",
		"tcp:0":              "does not end in a port",
		"udp:65536":          "does not end in a port",
		"tcp:22 accept\n":    "does not end in a port",
		"192.0.2.7:0":        "has the port 0",
		"0.0.0.0:22":         "is at no address of a host",
		"[ff02::1]:22":       "is at no address of a host",
		"127.0.0.53:53":      "is in 127.0.0.0/8, which clients never reach",
		"169.254.169.254:80": "is in 169.254.0.0/16, which clients never reach",
		"[fd00:ec2::254]:80": "is in fd00:ec2::/32, which clients never reach",
	} {
		_, err := Parse(s)
		require.EqualError(t, err, why, s)
	}
}

// The clients share half of the connections that the kernel follows, within bounds.
func TestFlows(t *testing.T) {
	require.Equal(t, 524, Flows(262144, 250))
	require.Equal(t, 4096, Flows(262144, 1))
	require.Equal(t, 256, Flows(8192, 250))
	require.Equal(t, 256, Flows(0, 0))
}

// No two devices have the same table.
func TestName(t *testing.T) {
	require.EqualValues(t, "inet stepvpn_reach_vpn0", Name("vpn0"))
	require.EqualValues(t, "inet stepvpn_reach_a_2db_40_2e_5f1", Name("a-b@._1"))
}
