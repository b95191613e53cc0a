package gateway

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
)

// With both kinds of iptables, on a host with Docker and on an empty one, and
// for all that a tunnel may carry.
func TestTheHostIsPutBack(t *testing.T) {
	for _, kind := range []string{"nft", "legacy"} {
		for _, addrs := range []string{both, onlyIPv4, onlyIPv6} {
			t.Run(kind+" "+addrs, func(t *testing.T) {
				use(t, kind)
				lab := netlab.New(t)
				dockerHost(t, lab)
				tunnelOn(t, lab, "vpn0", addrs)
				before, goroutines := snapshot(t, lab), goleak.IgnoreCurrent()
				for range 2 { // the second time is like the first
					undo := enable(t, lab, Config{Device: "vpn0", Addrs: prefixes(addrs)})
					require.Equal(t, yes(strings.Contains(addrs, ".")), lab.Server.Read(t, "ipv4/ip_forward"))
					require.Equal(t, yes(strings.Contains(addrs, ":")), lab.Server.Read(t, "ipv6/conf/all/forwarding"))
					require.Greater(t, len(minus(snapshot(t, lab), before)), 20, "the snapshot sees the changes")
					undo()
					undo() // once more has no effect
					same(t, before, lab)
				}
				goleak.VerifyNone(t, goroutines)
			})
		}
	}
}

func yes(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// On a host without any firewall, iptables makes its tables and keeps them. No
// rule and no chain of ours stays.
func TestAnEmptyFirewallStaysEmpty(t *testing.T) {
	for _, kind := range []string{"nft", "legacy"} {
		t.Run(kind, func(t *testing.T) {
			use(t, kind)
			lab := netlab.New(t)
			tunnelOn(t, lab, "vpn0", both)
			rules := func() (all string) {
				for _, tool := range []string{"iptables", "ip6tables"} {
					for _, table := range []string{"raw", "mangle", "filter", "nat"} {
						all += lab.Server.Run(t, tool, "-t", table, "-S")
					}
				}
				return all
			}
			before := rules()
			undo := enable(t, lab, Config{Device: "vpn0", Addrs: prefixes(both)})
			require.Contains(t, rules(), "STEPVPN-vpn0")
			undo()
			require.Equal(t, before, rules())
		})
	}
}

// The firewall comes first and goes last: at no moment, on the way in or back, does the
// host forward a client's packets past it.
func TestNothingIsForwardedPastTheFirewall(t *testing.T) {
	lab := netlab.New(t)
	tunnelOn(t, lab, "vpn0", both)
	past := func() bool {
		on := lab.Server.Read(t, "ipv4/ip_forward") == "1"
		return on && !strings.Contains(lab.Server.Run(t, "iptables", "-S", "FORWARD"), "-A FORWARD -j "+Chain("vpn0"))
	}
	undo := forwardByHand(t, lab)
	require.True(t, past(), "the test sees it")
	undo()

	var seen []string
	logger := slog.Default()
	defer slog.SetDefault(logger)
	moments := 0
	slog.SetDefault(slog.New(each(func(line string) { // each change is logged before it is made
		moments++
		if past() {
			seen = append(seen, line)
		}
	})))
	enable(t, lab, Config{Device: "vpn0", Addrs: prefixes(both)})()
	require.Greater(t, moments, 40)
	require.Empty(t, seen, "the host forwarded past the firewall before these changes")
}

// each is a log that calls a function for each line.
type each func(line string)

func (each) Enabled(context.Context, slog.Level) bool        { return true }
func (f each) Handle(_ context.Context, r slog.Record) error { f(r.Message); return nil }
func (f each) WithAttrs([]slog.Attr) slog.Handler            { return f }
func (f each) WithGroup(string) slog.Handler                 { return f }

// A host that forwards already goes on to do so.
func TestForwardingThatWasOnStaysOn(t *testing.T) {
	lab := netlab.New(t)
	dockerHost(t, lab)
	lab.Server.Write(t, "ipv4/ip_forward", "1")
	lab.Server.Write(t, "ipv6/conf/all/forwarding", "1")
	tunnelOn(t, lab, "vpn0", both)
	before := snapshot(t, lab)
	enable(t, lab, Config{Device: "vpn0", Addrs: prefixes(both)})()
	same(t, before, lab)
	require.Equal(t, "1", lab.Server.Read(t, "ipv4/ip_forward"))
}

// The kernel changes more than the setting that is written: turning forwarding
// off makes a host believe redirects that it did not believe before.
func TestSettingsThatTheKernelChangesAlong(t *testing.T) {
	lab := netlab.New(t)
	dockerHost(t, lab)
	odd := map[string]string{
		"ipv4/conf/all/accept_redirects": "0",
		"ipv4/conf/eth0/forwarding":      "1",
		"ipv4/conf/default/forwarding":   "1",
		"ipv6/conf/eth0/forwarding":      "1",
	}
	for setting, value := range odd {
		lab.Server.Write(t, setting, value)
	}
	tunnelOn(t, lab, "vpn0", both)
	before := snapshot(t, lab)

	// A script would do this.
	lab.Server.Write(t, "ipv4/ip_forward", "1")
	lab.Server.Write(t, "ipv4/ip_forward", "0")
	require.Len(t, minus(snapshot(t, lab), before), 4, "accept_redirects and forwarding of eth0, vpn0 and default")
	for setting, value := range odd {
		lab.Server.Write(t, setting, value)
	}
	lab.Server.Write(t, "ipv4/conf/vpn0/forwarding", "1")
	same(t, before, lab)

	enable(t, lab, Config{Device: "vpn0", Addrs: prefixes(both)})()
	same(t, before, lab)
}

// Somebody else's change to a setting is respected.
func TestASettingThatSomebodyChangedIsLeftAlone(t *testing.T) {
	lab := netlab.New(t)
	tunnelOn(t, lab, "vpn0", both)
	lab.Server.Write(t, "ipv6/conf/eth0/accept_ra", "1")
	undo := enable(t, lab, Config{Device: "vpn0", Addrs: prefixes(both)})
	require.Equal(t, "2", lab.Server.Read(t, "ipv6/conf/eth0/accept_ra"))
	lab.Server.Write(t, "ipv6/conf/eth0/accept_ra", "0")
	undo()
	require.Equal(t, "0", lab.Server.Read(t, "ipv6/conf/eth0/accept_ra"))
}

// Two gateways in one program; between them somebody turns forwarding off. The
// second turns it on again, and the first value is what comes back.
func TestASettingIsChangedTwice(t *testing.T) {
	lab := netlab.New(t)
	dockerHost(t, lab)
	lab.Server.Write(t, "ipv4/conf/all/accept_redirects", "0")
	tunnelOn(t, lab, "vpn0", onlyIPv4)
	tunnelOn(t, lab, "vpn1", "10.9.0.1/24")
	before := snapshot(t, lab)
	first := enable(t, lab, Config{Device: "vpn0", Addrs: prefixes(onlyIPv4)})
	lab.Server.Write(t, "ipv4/ip_forward", "0")
	second := enable(t, lab, Config{Device: "vpn1", Addrs: prefixes("10.9.0.1/24")})
	require.Equal(t, "1", lab.Server.Read(t, "ipv4/ip_forward"))
	first()
	require.Equal(t, "1", lab.Server.Read(t, "ipv4/ip_forward"), "the other one needs it")
	second()
	same(t, before, lab)
}

// A router forgets the routes that it learned from router advertisements. A
// host that has its way out from one keeps it.
func TestTheRouteFromARouterAdvertisementStays(t *testing.T) {
	lab := netlab.New(t)
	dockerHost(t, lab)
	tunnelOn(t, lab, "vpn0", both)
	hasRoute := func() bool {
		return strings.Contains(lab.Server.Run(t, "ip", "-6", "route", "show", "default"), "proto ra")
	}
	advertised := func() {
		t.Helper()
		netlab.Eventually(t, limit, "the server learns its default route", func() bool {
			advertise(t, lab)
			return hasRoute()
		})
	}
	lab.Server.Run(t, "ip", "-6", "route", "del", "default")
	lab.Server.Write(t, "ipv6/conf/eth0/accept_ra", "1")
	advertised()

	lab.Server.Write(t, "ipv6/conf/all/forwarding", "1")
	require.False(t, hasRoute(), "this is what happens to a host that just forwards")
	lab.Server.Write(t, "ipv6/conf/all/forwarding", "0")
	advertised()

	before := snapshot(t, lab)
	undo := enable(t, lab, Config{Device: "vpn0", Addrs: prefixes(both)})
	require.Equal(t, "1", lab.Server.Read(t, "ipv6/conf/all/forwarding"))
	require.True(t, hasRoute())
	lab.Server.Run(t, "ip", "-6", "route", "del", "default")
	advertised() // it still listens
	undo()
	require.True(t, hasRoute())
	same(t, before, lab)
}

// advertise sends a router advertisement to the server's network (RFC 4861,
// section 4.2): I am a router for the next half hour.
func advertise(t *testing.T, lab *netlab.Lab) {
	t.Helper()
	lab.Internet.Do(func() {
		itf, err := net.InterfaceByName("srv0")
		require.NoError(t, err)
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6)
		require.NoError(t, err)
		defer unix.Close(fd)
		require.NoError(t, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255))
		allNodes := &unix.SockaddrInet6{Addr: netip.MustParseAddr("ff02::1").As16(), ZoneId: uint32(itf.Index)}
		const lifetime = 1800 // seconds
		message := []byte{134, 0, 0, 0, 64, 0, lifetime >> 8, lifetime & 0xff, 0, 0, 0, 0, 0, 0, 0, 0}
		unix.Sendto(fd, message, 0, allNodes) // srv0 may not have its link-local address yet
	})
}
