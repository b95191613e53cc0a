package route

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
)

// A packet is what the host sends, or (in the reverse-path check) an answer that it would
// send.
type packet struct {
	to   string
	mark uint32
	udp  uint16 // port, or 0
}

// lookup decides by which table a packet is routed, as the kernel does it, on a host whose
// local network is 198.51.100.0/24 or 2001:db8:6::/64.
func lookup(rules []policy.Rule, p packet) string {
	to := netip.MustParseAddr(p.to)
	local := netip.MustParsePrefix("198.51.100.0/24").Contains(to) || netip.MustParsePrefix("2001:db8:6::/64").Contains(to)
	slices.SortFunc(rules, func(a, b policy.Rule) int { return a.Priority - b.Priority })
	for _, r := range rules {
		matches := (r.Mark == 0 || p.mark == r.Mark) &&
			(r.Dst == nil || r.Dst.Contains(to.AsSlice())) &&
			(r.IPProto == 0 || r.IPProto == unix.IPPROTO_UDP && p.udp > 0) &&
			(r.Dport == nil || r.Dport.Start <= p.udp && p.udp <= r.Dport.End)
		switch {
		case hostnet.Family(r.Family) != hostnet.FamilyOf(to), matches == r.Invert:
		case r.Type == unix.RTN_UNREACHABLE:
			return "refused"
		case r.Table == Table:
			return "tunnel"
		case r.Table == unix.RT_TABLE_MAIN && local:
			return "local network"
		case r.Table == unix.RT_TABLE_MAIN && r.SuppressPrefixlen < 0:
			return "the host's default route"
		}
	}
	if local {
		return "local network"
	}
	return "the host's default route"
}

// What is for the local network stays there, and everything else goes into the tunnel, or
// nowhere.
func TestRulesLeadIntoTheTunnel(t *testing.T) {
	for _, p := range []packet{{to: "203.0.113.80"}, {to: "2001:db8:80::80"}, {to: "203.0.113.10", udp: 5555}} {
		f := hostnet.FamilyOf(netip.MustParseAddr(p.to))
		require.Equal(t, "the host's default route", lookup(nil, p), "without rules")
		require.Equal(t, "tunnel", lookup([]policy.Rule{Local(f, PriorityLocal), Tunnel(f, true)}, p))
		require.Equal(t, "refused", lookup([]policy.Rule{Local(f, PriorityLocal), Tunnel(f, false)}, p))
	}
	for _, p := range []packet{{to: "198.51.100.20"}, {to: "2001:db8:6::20"}} {
		f := hostnet.FamilyOf(netip.MustParseAddr(p.to))
		require.Equal(t, "local network", lookup([]policy.Rule{Local(f, PriorityLocal), Tunnel(f, true)}, p))
		require.Equal(t, "local network", lookup([]policy.Rule{Local(f, PriorityLocal), Tunnel(f, false)}, p))
	}
}

// The tunnel's own packets don't go into the tunnel, even if it doesn't carry their family.
func TestMarkedPacketsStayOutside(t *testing.T) {
	for _, to := range []string{"203.0.113.10", "2001:db8:5::10"} {
		f := hostnet.FamilyOf(netip.MustParseAddr(to))
		for _, carried := range []bool{true, false} {
			rules := []policy.Rule{Local(f, PriorityLocal), Tunnel(f, carried)}
			require.Equal(t, "the host's default route", lookup(rules, packet{to: to, mark: FwMark, udp: 5555}), "the tunnel's own packet went elsewhere")
			require.NotEqual(t, "the host's default route", lookup(rules, packet{to: to, mark: FwMark + 1, udp: 5555}), "a mark of another program")
		}
	}
}

// In the reverse-path check, an answer to the server is routed past the tunnel, and nothing
// else is.
func TestAnswersToTheServer(t *testing.T) {
	for _, carried := range []bool{true, false} {
		without := []policy.Rule{Local(hostnet.V4, PriorityLocal), Tunnel(hostnet.V4, carried)}
		with := append(slices.Clone(without), answers("udp", serverAddr))
		require.NotEqual(t, "the host's default route", lookup(without, packet{to: "203.0.113.10", udp: 5555}), "or the test shows nothing")
		require.Equal(t, "the host's default route", lookup(with, packet{to: "203.0.113.10", udp: 5555}))
		for _, other := range []packet{{to: "203.0.113.10"}, {to: "203.0.113.10", udp: 53}, {to: "203.0.113.11", udp: 5555}} {
			require.NotEqual(t, "the host's default route", lookup(with, other), "%v leaves past the tunnel", other)
		}
	}
}

// The log has each rule as one would type it, and each has our number in the kernel.
func TestRulesAsTyped(t *testing.T) {
	for _, c := range []struct {
		rule policy.Rule
		want string
	}{
		{Local(hostnet.V4, PriorityLocal), "ip -4 rule add priority 22504 lookup main suppress_prefixlength 0"},
		{Local(hostnet.V6, 100), "ip -6 rule add priority 100 lookup main suppress_prefixlength 0"},
		{Tunnel(hostnet.V4, true), "ip -4 rule add priority 22505 not fwmark 22505 lookup 22505"},
		{Tunnel(hostnet.V6, false), "ip -6 rule add priority 22505 not fwmark 22505 unreachable"},
		{answers("udp", serverAddr), "ip -4 rule add priority 22503 to 203.0.113.10 ipproto udp dport 5555 lookup main"},
		{answers("tcp", serverAddr), "ip -4 rule add priority 22503 to 203.0.113.10 ipproto tcp dport 5555 lookup main"},
	} {
		require.Equal(t, c.want, c.rule.Add().Command)
		require.EqualValues(t, policy.MadeBy, c.rule.Protocol, c.want)
	}
	require.Equal(t, unix.IPPROTO_TCP, answers("tcp", serverAddr).IPProto)
}
