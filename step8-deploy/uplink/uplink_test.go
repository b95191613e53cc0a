package uplink

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step2-tun/tun"
	"stepvpn/step8-deploy/reach"
	"stepvpn/step8-deploy/reconcile"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// A kept is the lab's server with a Keeper that looks when the test tells it to.
type kept struct {
	*netlab.Lab
	t   *testing.T
	k   *Keeper
	dev *tun.Device
	now time.Time
}

func enable(t *testing.T, egress ...string) *kept {
	t.Helper()
	h := &kept{Lab: netlab.New(t), t: t, now: time.Now()}
	d := reconcile.Device{Name: "vpn0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.8.0.1/24"), netip.MustParsePrefix("fd00:8::1/64")}, MTU: 1400}
	h.Server.Do(func() {
		var err error
		h.dev, err = tun.Open(tun.Config{Name: d.Name, Addrs: d.Addrs, MTU: d.MTU})
		require.NoError(t, err)
		h.k, err = Enable(Config{Device: d, Egress: egress, Reach: []reach.Opening{}, MaxClients: 250})
		require.NoError(t, err)
	})
	t.Cleanup(func() { h.dev.Close() })
	t.Cleanup(func() { h.Server.Do(func() { require.NoError(t, h.k.Close()) }) })
	return h
}

func (h *kept) run(command string) { h.t.Helper(); h.Server.Run(h.t, "bash", "-c", command) }

// problems looks some time later, and returns what is wrong.
func (h *kept) problems(later time.Duration) (list []string) {
	h.t.Helper()
	h.now = h.now.Add(later)
	h.Server.Do(func() { h.k.look(h.now) })
	for _, p := range h.k.Problems() {
		require.NotEmpty(h.t, p.Cure, p.What)
		list = append(list, p.What)
	}
	return list
}

func TestProblems(t *testing.T) {
	h := enable(t)
	require.Empty(t, h.k.Problems())
	require.Empty(t, h.problems(0))
	h.run("ip -4 route del default; ip -6 route del default")
	require.Equal(t, []string{"this host has no default route: clients have no way out"}, h.problems(time.Second))
	h.run("ip -6 route add default via 2001:db8:5::1")
	require.Empty(t, h.problems(time.Second), "one family is enough")
	h.run("ip -4 route add default via 203.0.113.1")
	require.Empty(t, h.problems(time.Second))

	h.run("sysctl -qw net.ipv6.conf.vpn0.disable_ipv6=1")
	require.Equal(t, []string{"device vpn0: its address fd00:8::1/64 was missing, and that can't be changed: IPv6 is switched off on it"}, h.problems(time.Second))
	h.run("sysctl -qw net.ipv6.conf.vpn0.disable_ipv6=0")
	require.Empty(t, h.problems(time.Second))

	// iptables can't use a table with such a chain.
	h.run("nft flush ruleset; nft add table ip filter; nft add chain ip filter OUTPUT '{ type filter hook output priority 10; }'")
	require.Equal(t, []string{"iptables cannot use its table filter: somebody made chains there with nft"}, h.problems(time.Second))
	h.run("nft flush ruleset")
	require.Empty(t, h.problems(time.Second))

	h.run("ip link del vpn0")
	require.Equal(t, []string{"device vpn0: the device is gone"}, h.problems(time.Second))
}

func TestProblemsOfNamedInterfaces(t *testing.T) {
	h := enable(t, "eth0", "wwan0")
	const none = "there is no interface wwan0, through which clients' packets are to leave"
	require.Equal(t, none, h.k.Problems()[0].What)
	require.Equal(t, []string{none}, h.problems(time.Second))
	h.run("ip link add wwan0 type veth peer name other")
	require.Equal(t, []string{"the interface wwan0, through which clients' packets are to leave, is down"}, h.problems(time.Second))
	h.run("ip link set wwan0 up")
	require.Empty(t, h.problems(time.Second))
}

// Each kind of thing that others change again and again is put back at once a few times, then
// less often. After a while without changes, that is forgotten. A thing that was put back is
// not changed again.
func TestFoughtOver(t *testing.T) {
	for what, change := range map[string]string{
		"the device vpn0": "ip link set vpn0 down",
		"the firewall":    "iptables -F FORWARD",
		"the firewall's table of what clients can reach on this host": "nft delete table inet stepvpn_reach_vpn0",
		"the kernel's setting net.ipv4.ip_forward":                    "sysctl -qw net.ipv4.ip_forward=0",
		"the default route": "if ip route | grep -q 'default via'; then ip -4 route del default; else ip -4 route add default via 203.0.113.1; fi",
	} {
		t.Run(what, func(t *testing.T) {
			h := enable(t)
			began := h.now
			keeps := "another program keeps changing " + what + ": it is put back less often now"
			waits := func() bool {
				return slices.ContainsFunc([]*pace{&h.k.device, &h.k.firewall, &h.k.ways, &h.k.settings, &h.k.reach}, func(p *pace) bool { return p.Wait(h.now) > 0 })
			}
			for !waits() {
				require.NotContains(t, h.problems(0), keeps)
				h.run(change)
				h.problems(time.Second)
				require.Less(t, h.now.Sub(began), 10*time.Second, "it gets slower some time")
			}
			require.Contains(t, h.problems(0), keeps)
			h.run(change)
			h.problems(time.Second)
			require.True(t, waits(), "not at once")
			require.Contains(t, h.problems(10*time.Second), keeps)
			require.Empty(t, h.problems(time.Minute))
		})
	}
}

// The table that keeps translating outlasts everything that others do, but not its owner.
func TestAnchor(t *testing.T) {
	h := enable(t)
	table := func() string { out, _ := h.Server.Try("nft", "list", "table", "inet", "stepvpn_nat_vpn0"); return out }
	want := table()
	require.Contains(t, want, `iifname "vpn0" masquerade`)
	h.run("nft flush ruleset; iptables -t nat -F; ! nft delete table inet stepvpn_nat_vpn0; ! nft flush table inet stepvpn_nat_vpn0")
	require.Equal(t, want, table())
	h.Server.Do(func() { require.NoError(t, h.k.Close()) })
	require.NotContains(t, table(), "masquerade")
}
