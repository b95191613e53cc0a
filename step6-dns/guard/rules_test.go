package guard

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step5-nat/hostnet"
)

// The rules, as a person would type them. Whether the kernel is told the same is for the
// other tests.
func TestRules(t *testing.T) {
	list, err := Rules([]netip.Addr{resolvers[0], netip.MustParseAddr("10.8.0.3"), resolvers[0]})
	require.NoError(t, err)
	var got []string
	for _, r := range list {
		got = append(got, r.Add().Command)
	}
	require.Equal(t, strings.Split(`ip -4 rule add priority 22500 fwmark 22505 lookup main
ip -4 rule add priority 22501 to 10.8.0.1 lookup 22505
ip -4 rule add priority 22501 to 10.8.0.3 lookup 22505
ip -4 rule add priority 22502 ipproto udp dport 53 prohibit
ip -4 rule add priority 22502 ipproto tcp dport 53 prohibit
ip -6 rule add priority 22500 fwmark 22505 lookup main
ip -6 rule add priority 22502 ipproto udp dport 53 prohibit
ip -6 rule add priority 22502 ipproto tcp dport 53 prohibit`, "\n"), got)
}

// Without a resolver in the tunnel, queries go into it whichever resolver they are for, if it
// carries their family, and nowhere otherwise.
func TestThrough(t *testing.T) {
	var got []string
	for _, r := range Through(func(f hostnet.Family) bool { return f == hostnet.V4 }) {
		got = append(got, r.Add().Command)
	}
	require.Equal(t, strings.Split(`ip -4 rule add priority 22500 fwmark 22505 lookup main
ip -4 rule add priority 22501 ipproto udp dport 53 lookup 22505
ip -4 rule add priority 22501 ipproto tcp dport 53 lookup 22505
ip -4 rule add priority 22502 ipproto udp dport 53 prohibit
ip -4 rule add priority 22502 ipproto tcp dport 53 prohibit
ip -6 rule add priority 22500 fwmark 22505 lookup main
ip -6 rule add priority 22502 ipproto udp dport 53 prohibit
ip -6 rule add priority 22502 ipproto tcp dport 53 prohibit`, "\n"), got)
	require.Contains(t, RulesetThrough("vpn0"), "oifname \"vpn0\" accept\n\t\tmeta l4proto tcp reject")
}

// The local network may have a host of the resolver's address, and a route to it.
func TestResolverOfTheLocalNetwork(t *testing.T) {
	lab := netlab.New(t)
	tunnelOn(t, lab.Alice, addrs)
	lab.Alice.Run(t, "ip", "-4", "route", "add", "10.8.0.1", "dev", "eth0")
	lab.Alice.Run(t, "ip", "-6", "route", "add", "fd00:8::1", "dev", "eth0")
	for _, query := range []string{"10.8.0.1 ipproto udp dport 53", "fd00:8::1 ipproto tcp dport 53"} {
		require.Equal(t, "eth0", way(lab.Alice, query), query+", the detector")
	}
	block(t, lab.Alice, resolvers...)
	for _, query := range []string{"10.8.0.1 ipproto udp dport 53", "fd00:8::1 ipproto tcp dport 53"} {
		require.Equal(t, "vpn0", way(lab.Alice, query), query)
	}
}
