package takeover

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step2-tun/tun"
	"stepvpn/step5-nat/route"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/lan"
	"stepvpn/step8-deploy/reconcile"
)

func prefixes(list ...string) (ps []netip.Prefix) {
	for _, s := range list {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

// tunnelOn makes a device with these addresses, and returns what a server has handed out.
func tunnelOn(t *testing.T, h *netlab.Host, addrs ...string) Terms {
	t.Helper()
	h.Do(func() {
		dev, err := tun.Open(tun.Config{Name: "vpn0", Addrs: prefixes(addrs...)})
		require.NoError(t, err)
		t.Cleanup(func() { dev.Close() })
	})
	return Terms{Server: netip.MustParseAddrPort("203.0.113.10:5555"), Addrs: prefixes(addrs...)}
}

// way returns the interface by which a packet would leave.
func way(t *testing.T, h *netlab.Host, question string) string {
	t.Helper()
	out := h.Run(t, "ip", append([]string{"route", "get"}, strings.Fields(question)...)...)
	_, rest, _ := strings.Cut(out, " dev ")
	name, _, _ := strings.Cut(rest, " ")
	return name
}

// Only some networks go through the tunnel, and all others as before. Other rules decide what
// is local. A network of this host may overlap the tunnel's.
func TestIntoTunnel(t *testing.T) {
	lab := netlab.New(t)
	lab.Alice.Run(t, "ip", "addr", "add", "10.8.0.77/24", "dev", "eth0")
	terms := tunnelOn(t, lab.Alice, "10.8.0.2/24", "fd00:8::2/64")
	before := lab.Alice.Run(t, "bash", "-c", "ip -4 rule; ip -6 rule")
	for _, c := range []struct {
		only []netip.Prefix
		ways map[string]string
	}{
		{nil, map[string]string{"10.8.0.77": "lo", "198.51.100.10": "lo", "10.8.0.1": "vpn0", "198.51.100.11": "vpn0",
			"203.0.113.80": "vpn0", "2001:db8:cafe::11": "vpn0", "203.0.113.80 mark 22505": "eth0"}},
		{prefixes("203.0.113.64/27", "203.0.113.64/27", "2001:db8:80::/64"), map[string]string{"203.0.113.80": "vpn0", "2001:db8:80::80": "vpn0",
			"203.0.113.80 mark 22505": "eth0", "203.0.113.10": "eth0", "192.0.2.1": "eth0", "2001:db8:5::10": "eth0", "203.0.113.95 ipproto tcp": "vpn0",
			"203.0.113.96": "eth0", "2001:db8:80:1::80": "eth0", "127.0.0.1": "lo", "203.0.113.65 ipproto udp": "vpn0"}},
	} {
		lab.Alice.Do(func() {
			now := into(terms, c.only)
			require.NoError(t, now.check())
			_, err := reconcile.Routes(route.Table, "vpn0", now.routes())
			require.NoError(t, err)
			_, err = reconcile.Rules(route.PriorityTunnel, route.PriorityTunnel, now.rules(lan.Networks{}))
			require.NoError(t, err)
			for question, want := range c.ways {
				require.Equal(t, want, way(t, lab.Alice, question), question)
			}
			_, err = reconcile.Routes(route.Table, "vpn0", nil)
			require.NoError(t, err)
			_, err = reconcile.Rules(route.PriorityTunnel, route.PriorityTunnel, nil)
			require.NoError(t, err)
			require.Empty(t, lab.Alice.Run(t, "bash", "-c", "ip -4 route show table 22505; ip -6 route show table 22505"))
		})
	}
	require.Equal(t, before, lab.Alice.Run(t, "bash", "-c", "ip -4 rule; ip -6 rule"))
}

func into(t Terms, only []netip.Prefix) *taken {
	return &taken{cfg: &config.Client{Device: "vpn0", LAN: lan.Private}, terms: t, only: only}
}

func TestIntoTunnelRefuses(t *testing.T) {
	lab := netlab.New(t)
	terms := tunnelOn(t, lab.Alice, "10.8.0.2/24")
	require.EqualError(t, into(terms, prefixes("10.0.0.0/8", "fd00::/8")).check(), "fd00::/8 is to go into the tunnel, which carries no IPv6")
	inside := netip.MustParseAddr("10.8.0.1")
	lab.Alice.Do(func() { require.ErrorContains(t, route.CheckWay("vpn0", inside), "leads into the tunnel vpn0 itself") })
	overlap := terms
	overlap.Addrs = prefixes("10.8.0.0/16", "10.8.0.2/24")
	require.ErrorContains(t, into(overlap, nil).check(), "overlap", "its own")
	require.ErrorContains(t, into(Terms{}, nil).check(), "no address")
}

func TestMain(m *testing.M) { netlab.Main(m) }
