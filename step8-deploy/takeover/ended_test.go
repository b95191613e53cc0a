package takeover

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/killswitch"
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

// The kernel's clock for a pause stands still while the machine is suspended, and afterwards the
// machine may be in another network.
func TestSuspendEndsPause(t *testing.T) {
	lab := netlab.New(t)
	cfg := &config.Client{Device: "vpn0", LAN: lan.Private, State: t.TempDir(), Routes: config.Routes{Everything: true}, KillSwitch: true}
	reached := func() bool {
		_, err := lab.Alice.Try("ping", "-c", "1", "-W", "1", lab.Web.V4.String())
		return err == nil
	}
	h := New(cfg, new(names.Local))
	lab.Alice.Do(func() {
		require.NoError(t, h.close())
		h.begun = true
		require.NoError(t, killswitch.Pause(time.Hour))
		h.HostChanged()
		require.Equal(t, "paused", h.killSwitch())
	})
	require.True(t, reached())
	lab.Alice.Do(func() {
		require.ErrorIs(t, h.SetUp(true), errReleased, "the tunnel was taken back by the pause")
		require.False(t, h.up, "so another pause is none of a tunnel that is up")
		require.NoError(t, killswitch.Pause(time.Hour))
		h.HostChanged()
		require.Equal(t, "paused", h.killSwitch())
		h.ClockJumped()
		require.Equal(t, "closed", h.killSwitch())
		require.Zero(t, killswitch.Paused())
	})
	require.False(t, reached())
	lab.Alice.Do(func() {
		h.unlock = func() error { return nil }
		require.NoError(t, h.End())
	})
	require.True(t, reached())
}
