package takeover

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/lan"
	"stepvpn/step8-deploy/names"
)

// A worker's request may come late, when the host was given back already.
func TestNothingIsTakenOnceItWasGivenBack(t *testing.T) {
	lab := netlab.New(t)
	state := func() string {
		return lab.Alice.Run(t, "bash", "-c", "ip -4 rule; ip -6 rule; ip -br link; nft list ruleset")
	}
	before := state()
	cfg := &config.Client{Device: "vpn0", LAN: lan.Private, State: t.TempDir(), Routes: config.Routes{Everything: true}}
	h := New(cfg, new(names.Local))
	h.begun, h.ended = true, true
	at := netip.MustParseAddrPort("203.0.113.10:5555")
	lab.Alice.Do(func() {
		_, _, err := h.Take(Terms{Server: at, Addrs: prefixes("10.8.0.2/24"), MTU: 1400})
		require.ErrorIs(t, err, errEnded)
		require.ErrorIs(t, h.Reconfigure(cfg), errEnded)
		require.ErrorIs(t, h.SetUp(true), errEnded)
		require.ErrorIs(t, h.Allow("udp", at), errEnded)
		_, err = h.CarryOut(policy.NewRefusal(hostnet.V4, priorityTunnel, 7, "unreachable"))
		require.ErrorIs(t, err, errEnded)
		require.NoError(t, h.Fit(1300))
	})
	require.Equal(t, before, state())
}
