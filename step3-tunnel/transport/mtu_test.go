package transport

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What is around a packet of the tunnel, and the packet itself, together fill the path's MTU.
func TestMTUOverUDP(t *testing.T) {
	for _, c := range []struct {
		size int
		ipv6 bool
		want string
	}{
		{1500, false, "1472 = 1500 (Ethernet) - 20 (IPv4) - 8 (UDP)"},
		{1500, true, "1452 = 1500 (Ethernet) - 40 (IPv6) - 8 (UDP)"},
		{1280, true, "1232 = 1280 (Ethernet) - 40 (IPv6) - 8 (UDP)"},
	} {
		m := outerMTU(c.size, "Ethernet", c.ipv6).lessUDP()
		require.Equal(t, c.want, m.String())
	}
}

func TestMTUOverTCP(t *testing.T) {
	m := outerMTU(1500, "Ethernet", false).lessTCP()
	require.Equal(t, "1446 = 1500 (Ethernet) - 20 (IPv4) - 32 (TCP) - 2 (length)", m.String())
	m = outerMTU(1500, "Ethernet", true).lessTCP()
	require.Equal(t, "1426 = 1500 (Ethernet) - 40 (IPv6) - 32 (TCP) - 2 (length)", m.String())
}

// Later layers subtract what they add. Who sets it by hand means the result.
func TestMTUIsLessOrAsSet(t *testing.T) {
	m := MTU{1472, "1472 (so far)"}
	require.Equal(t, "1440 = 1472 (so far) - 32 (encryption)", m.Less(32, "encryption").String())
	require.Equal(t, "1472 = 1472 (so far)", m.String(), "m itself stays as it was")
	require.Equal(t, "1400 = as set", m.Less(32, "encryption").Or(1400).String())
	require.Equal(t, m, m.Or(0))
}
