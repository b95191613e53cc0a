package bench

import (
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

// A client keeps its session when it moves to another network, even if it has no network for a
// while.
func TestRoaming(t *testing.T) {
	lab := netlab.New(t)
	u := connect(t, lab, nil, nil)
	lab.Alice.Run(t, "ip", "address", "flush", "dev", "eth0", "scope", "global")
	_, err := lab.Alice.Try("ping", "-c", "3", "-i", "0.1", "-W", "1", server4)
	require.Error(t, err, "there is no network")
	lab.Alice.Run(t, "ip", "address", "add", "198.51.100.77/24", "dev", "eth0")
	lab.Alice.Run(t, "ip", "route", "add", "default", "via", lab.Cafe.V4.String())
	netlab.Eventually(t, limit, "the tunnel carries packets again", func() bool {
		_, err := lab.Alice.Try("ping", "-c", "1", "-W", "1", server4)
		return err == nil
	})
	require.Contains(t, u.client.Log(), "this host has another address")
	u.server.WaitLog(t, "the peer's address has changed peer=198.51.100.77")
	u.client.Interrupt()
	require.Zero(t, u.client.Wait(t))
	require.Contains(t, u.client.Log(), "unreachable")
}
