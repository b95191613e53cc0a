package step8_test

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/netlab"
)

// A flow is a datagram that alice sends into the cafe, with what should happen to it.
type flow struct {
	to        string // address and port
	from      int    // port; 0 is any
	mode      string // the policies ("private", "none", "as routed") with which it may leave by eth0
	otherwise string // the policies with which it may or may not leave
}

const (
	always  = "private, none, as routed"
	local   = "private, as routed"
	foreign = "as routed"
	never   = ""
)

// flows are the flows of a host whose network attacks it in every way that it can; see
// hostile.
var flows = []flow{
	// These are real neighbours.
	{to: "192.168.44.11:9", mode: local},
	{to: "172.20.1.1:9", mode: local},
	{to: "169.254.7.7:9", mode: local},
	{to: "[fd44::11]:9", mode: local},
	{to: "[fd66::11]:9", mode: local}, // by a router advertisement
	{to: "[fe80::b0b]:9", mode: local},
	// These are neighbours with public addresses.
	{to: "198.51.100.11:9", mode: foreign},
	{to: "[2001:db8:cafe::11]:9", mode: foreign},
	{to: "203.0.113.80:9", mode: foreign},
	{to: "[2001:db8:80::80]:9", mode: foreign},
	{to: "[2001:db8:66::1]:9", mode: foreign}, // by a router advertisement
	// These networks are larger than any private network.
	{to: "10.200.0.1:9", mode: foreign},
	{to: "11.1.1.1:9", mode: foreign},
	{to: "[fdaa::1]:9", mode: foreign},
	// These are reached by a router in the cafe.
	{to: "192.0.2.1:9", mode: foreign},    // a route of its own
	{to: "203.0.113.1:9", mode: foreign},  // 128.0.0.0/1
	{to: "8.8.8.8:9", mode: foreign},      // 0.0.0.0/1
	{to: "10.99.1.1:9", mode: foreign},    // a private network
	{to: "192.168.99.1:9", mode: foreign}, // another
	{to: "[2001:db8:5::1]:9", mode: foreign},
	{to: "[fd99::1]:9", mode: foreign},
	// The tunnel's own networks belong to nobody else.
	{to: "10.8.0.1:9", mode: never, otherwise: foreign},
	{to: "[fd00:8::1]:9", mode: never, otherwise: foreign},
	// Names are asked for in the tunnel, whichever resolver offers itself.
	{to: "198.51.100.1:53", mode: never},
	{to: "192.168.44.1:53", mode: never},
	{to: "[fd44::1]:53", mode: never},
	{to: "192.168.44.11:5355", mode: never},
	{to: "[fd44::11]:5355", mode: never},
	{to: "224.0.0.252:5355", mode: never},
	{to: "[ff02::1:3]:5355", mode: never},
	// These are for the discovery of services.
	{to: "224.0.0.251:5353", mode: local},
	{to: "[ff02::fb]:5353", mode: local},
	{to: "239.255.255.250:1900", mode: local},
	{to: "[ff02::c]:1900", mode: local},
	{to: "[ff05::c]:1900", mode: local},
	{to: "192.168.44.255:9", mode: local},
	{to: "255.255.255.255:9", mode: local},
	{to: "239.1.2.3:9", mode: never, otherwise: foreign},
	{to: "[ff05::99]:9", mode: never, otherwise: foreign},
	{to: "[ff0e::c]:1900", mode: never, otherwise: foreign},
	// These are DHCP messages, the first ones and renewals.
	{to: "255.255.255.255:67", from: 68, mode: always},
	{to: "198.51.100.1:67", from: 68, mode: always},
	{to: "192.168.44.1:67", from: 68, mode: always},
	{to: "[ff02::1:2]:547", from: 546, mode: always},
}

// leaving sends each flow, tied to eth0 and not tied, and returns which of them were seen in
// the cafe, as "192.168.44.11:9 tied".
func (w *world) leaving(t *testing.T) map[string]bool {
	t.Helper()
	capture := w.Cafe.Capture(t, "br0", "udp and ether src "+w.mac(t))
	const tied, untied = 42001, 42002
	for _, f := range flows {
		w.Alice.Do(func() {
			send(t, f, "eth0", tied)
			send(t, f, "", untied)
		})
	}
	lines := strings.Join(capture.Stop(), "\n")
	seen := make(map[string]bool)
	for _, f := range flows {
		to := netip.MustParseAddrPort(f.to)
		for how, port := range map[string]int{"tied": tied, "untied": untied} {
			if f.from != 0 {
				how, port = "by DHCP", f.from
			}
			if strings.Contains(lines, fmt.Sprintf(".%d > %v.%d:", port, to.Addr(), to.Port())) {
				seen[f.to+" "+how] = true
			}
		}
	}
	return seen
}

// send sends a flow's datagram. If that is refused, it returns an error, and the test goes on.
func send(t *testing.T, f flow, device string, port int) {
	t.Helper()
	to := netip.MustParseAddrPort(f.to)
	if f.from != 0 {
		port = f.from
	}
	fd, err := open(to.Addr(), unix.SOCK_DGRAM, 0, device)
	require.NoError(t, err)
	defer unix.Close(fd)
	link := 0
	interfaces := func() int {
		if link == 0 {
			req, err := unix.NewIfreq("eth0")
			require.NoError(t, err)
			require.NoError(t, unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req))
			link = int(req.Uint32())
		}
		return link
	}
	any := netip.IPv6Unspecified()
	if to.Addr().Is4() {
		any = netip.IPv4Unspecified()
		require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1))
	}
	require.NoError(t, unix.Bind(fd, sockaddr(any, uint16(port))))
	addr := sockaddr(to.Addr(), to.Port())
	if to.Addr().Is4() && to.Addr().IsMulticast() {
		// A program that discovers services names the interface.
		require.NoError(t, unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(interfaces())}))
	}
	if six, ok := addr.(*unix.SockaddrInet6); ok && (to.Addr().IsMulticast() || to.Addr().IsLinkLocalUnicast()) {
		six.ZoneId = uint32(interfaces())
	}
	unix.Sendto(fd, []byte("hello"), 0, addr)
}

// flow lists the flows that do not leave with a setting of lan although they may, and those
// that leave although they may not.
func (w *world) flow(t *testing.T, mode string) (silent, stray []string) {
	t.Helper()
	seen := w.leaving(t)
	wanted, forbidden := may(mode)
	for _, f := range wanted {
		if !seen[f] {
			silent = append(silent, f)
		}
	}
	for _, f := range forbidden {
		if seen[f] {
			stray = append(stray, f)
		}
	}
	return silent, stray
}

// may is what leaving should return. It does not say anything about the other flows.
func may(mode string) (wanted, forbidden []string) {
	for _, f := range flows {
		how := []string{"tied", "untied"}
		if f.from != 0 {
			how = []string{"by DHCP"}
		}
		for _, h := range how {
			switch {
			case has(f.mode, mode):
				wanted = append(wanted, f.to+" "+h)
			case !has(f.otherwise, mode):
				forbidden = append(forbidden, f.to+" "+h)
			}
		}
	}
	return wanted, forbidden
}

func has(modes, mode string) bool {
	for m := range strings.SplitSeq(modes, ", ") {
		if m == mode {
			return true
		}
	}
	return false
}

// lan changes those of alice's settings that concern the local network.
func (w *world) lan(t *testing.T, mode string) {
	t.Helper()
	text, err := os.ReadFile(w.path("alice.toml"))
	require.NoError(t, err)
	lines := regexp.MustCompile(`(?m)^lan = .*\n`).ReplaceAllString(string(text), "")
	require.NoError(t, os.WriteFile(w.path("alice.toml"), fmt.Appendf(nil, "%slan = %q\n", lines, mode), 0o600))
}

// neighbours gives alice, bob and the cafe private addresses.
func (w *world) neighbours(t *testing.T) {
	t.Helper()
	for host, n := range map[*netlab.Host]int{w.Cafe: 1, w.Alice: 10, w.Bob: 11} {
		dev := map[bool]string{true: "br0", false: "eth0"}[host == w.Cafe]
		host.Run(t, "bash", "-c", fmt.Sprintf(`ip addr add 192.168.44.%[1]d/24 brd + dev %[2]s
			ip addr add fd44::%[1]d/64 dev %[2]s nodad`, n, dev))
	}
}

// hostile makes the cafe's network announce everything to alice that may draw traffic out of a
// tunnel, by DHCP and by router advertisements.
func (w *world) hostile(t *testing.T) {
	t.Helper()
	w.Alice.Run(t, "bash", "-ec", `
		ip addr add 203.0.113.90/27 dev eth0         # TunnelCrack LocalNet (CVE-2023-36672)
		ip addr add 2001:db8:80::90/64 dev eth0 nodad
		ip addr add 172.20.0.10/12 dev eth0
		ip addr add 169.254.7.1/16 dev eth0
		ip addr add 10.3.4.5/7 dev eth0
		ip addr add fdaa::10/7 dev eth0 nodad
		for net in 0.0.0.0/1 128.0.0.0/1 192.0.2.1/32; do # TunnelVision (CVE-2024-3661)
			ip route add $net via 198.51.100.1 dev eth0 proto dhcp
		done
		for net in 10.99.0.0/16 192.168.99.0/24; do ip route add $net via 192.168.44.1 dev eth0 proto dhcp; done
		for net in ::/1 8000::/1 2000::/3 fd99::/48; do ip route add $net via fd44::1 dev eth0 proto ra; done`)
	w.Alice.Write(t, "ipv6/conf/eth0/accept_ra", "2")
	w.Cafe.Do(func() { advertise(t, "2001:db8:66::", "fd66::") })
	netlab.Eventually(t, limit, "the kernel has believed the router", func() bool {
		out := w.Alice.Run(t, "ip", "-6", "route", "show", "dev", "eth0")
		return strings.Contains(out, "2001:db8:66::/64") && strings.Contains(out, "fd66::/64")
	})
	// The cafe's router answers for addresses that no host has.
	mac := strings.Fields(w.Cafe.Run(t, "ip", "-br", "link", "show", "br0"))[2]
	bobs := []string{w.Bob.V4.String(), w.Bob.V6.String(), "192.168.44.11", "fd44::11"}
	for _, f := range flows {
		to := netip.MustParseAddrPort(f.to).Addr()
		if !to.IsMulticast() && !strings.HasSuffix(to.String(), ".255") && !slices.Contains(bobs, to.String()) {
			w.Alice.Run(t, "ip", "neigh", "replace", to.String(), "lladdr", mac, "dev", "eth0", "nud", "permanent")
		}
	}
}

// advertise sends a router advertisement (RFC 4861), which says that networks with prefixes of
// 64 bits are on the link.
func advertise(t *testing.T, networks ...string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.BindToDevice(fd, "br0"))
	require.NoError(t, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255))
	b := []byte{134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // no default router
	for _, n := range networks {
		b = append(b, 3, 4, 64, 0x80, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0) // for ever
		a := netip.MustParseAddr(n).As16()
		b = append(b, a[:]...)
	}
	to := sockaddr(netip.MustParseAddr("ff02::1"), 0)
	require.NoError(t, unix.Sendto(fd, b, 0, to))
}

// The setting lan decides what counts as the local network, whatever the network's operator
// says.
func TestLocalNetwork(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	w.server(t)
	w.neighbours(t)
	w.hostile(t)
	before := state(t, w.Alice)
	wanted, _ := may("as routed")
	seen := w.leaving(t)
	for _, f := range append(wanted, "192.168.44.1:53 tied", "224.0.0.252:5355 tied", "239.1.2.3:9 tied", "10.8.0.1:9 untied", "[ff02::1:3]:5355 untied") {
		require.True(t, seen[f], "without a VPN, %s leaves: the detector sees it", f)
	}

	for _, mode := range []string{"private", "none", "as routed"} {
		t.Run(mode, func(t *testing.T) {
			if mode != "private" { // which is the default
				w.lan(t, mode)
			}
			client := w.client(t)
			if mode != "as routed" {
				w.seenAs(t, w.Server.V4.String())
				require.Equal(t, w.Server.V6.String(), w.whoami(w.Web.V6))
			}
			wanted, forbidden := w.flow(t, mode)
			assert.Empty(t, wanted, "these flows should leave, but do not")
			assert.Empty(t, forbidden, "these flows leave, but should not")
			_, err := w.Alice.Try("ping", "-c1", "-W2", "192.168.44.11")
			require.Equal(t, mode != "none", err == nil, "bob's answers come in")
			_, err = w.Alice.Try("ping", "-c1", "-W2", "fd44::11")
			require.Equal(t, mode != "none", err == nil, "bob's answers come in")
			client.Interrupt()
			require.Zero(t, client.Wait(t), client.Log())
			require.Equal(t, before, state(t, w.Alice))
		})
	}
}

// A network turns hostile while the client is connected: nothing leaves at any time. Networks
// that are not believed are logged once, and shown.
func TestRefusedNetworks(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	w.server(t)
	w.neighbours(t)
	client := w.client(t)
	w.hostile(t)
	_, stray := w.flow(t, "private")
	assert.Empty(t, stray, "these flows leave at once, but should not")
	w.seenAs(t, w.Server.V4.String())
	refused := []string{"203.0.113.64/27", "2001:db8:80::/64", "10.0.0.0/7", "0.0.0.0/1", "128.0.0.0/1", "192.0.2.1", "10.99.0.0/16",
		"fd99::/48", "2001:db8:66::/64", "198.51.100.0/24", "2001:db8:cafe::/64"}
	for _, network := range refused {
		client.WaitLog(t, network)
	}
	silent, stray := w.flow(t, "private")
	assert.Empty(t, silent, "these flows should leave, but do not")
	assert.Empty(t, stray, "these flows leave, but should not")
	for _, flags := range [][]string{nil, {"-json"}} {
		out := w.Alice.Run(t, netlab.Program("stepvpn"), append([]string{"status", "-socket", w.path("alice.sock")}, flags...)...)
		for _, network := range refused {
			require.Contains(t, out, network)
		}
		require.NotContains(t, out, "192.168.44.0/24")
		require.NotContains(t, out, "fd44::/64")
	}
	w.Alice.Run(t, "ip", "route", "add", "198.18.0.0/15", "via", w.Cafe.V4.String(), "dev", "eth0", "proto", "dhcp")
	client.WaitLog(t, "198.18.0.0/15")
	require.Equal(t, 1, strings.Count(client.Log(), "10.99.0.0/16"), "once:\n%s", client.Log())
	w.seenAs(t, w.Server.V4.String())
	require.NotContains(t, client.Log(), "does not answer")

	// A network that was private is local again when the hostile networks are gone.
	w.Alice.Run(t, "ping", "-c1", "-W5", "192.168.44.11")
	w.Alice.Run(t, "ip", "route", "del", "198.18.0.0/15")
	netlab.Eventually(t, limit, "status no longer shows networks that are gone", func() bool {
		return !strings.Contains(w.Alice.Run(t, netlab.Program("stepvpn"), "status", "-socket", w.path("alice.sock")), "198.18.0.0/15")
	})
}

// Neither the tunnel's networks nor those that the operator sends through it are local,
// whatever the cafe's network says.
func TestTunnelBeatsLocal(t *testing.T) {
	for _, c := range []struct {
		name    string
		address string // alice's
		router  string
	}{
		{"the LAN is the tunnel's network", "10.8.0.77/24", "10.8.0.254/24"},
		{"the LAN is the tunnel's network and more", "10.3.4.5/8", "10.1.0.1/8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.add(t, "alice")
			w.server(t)
			router := netip.MustParsePrefix(c.router)
			w.Cafe.Run(t, "bash", "-ec", "ip addr add "+c.router+" dev br0; iptables -t nat -A POSTROUTING -s "+router.Masked().String()+" -o up0 -j MASQUERADE")
			w.Alice.Run(t, "bash", "-ec", "ip -4 addr flush dev eth0; ip addr add "+c.address+" dev eth0; ip route add default via "+router.Addr().String())
			w.seenAs(t, "192.0.2.2")
			capture := func() *netlab.Capture {
				return w.Cafe.Capture(t, "br0", "icmp and (dst host 10.8.0.1 or dst host 203.0.113.80) and ether src "+w.mac(t))
			}
			seen := capture()
			w.Alice.Try("ping", "-c1", "-W1", w.Web.V4.String())
			require.NotEmpty(t, seen.Stop(), "the detector")
			seen = capture()
			w.client(t)
			w.seenAs(t, w.Server.V4.String())
			w.Alice.Run(t, "ping", "-c1", "-W5", "10.8.0.1") // the server, in the tunnel
			w.Alice.Try("ping", "-c1", "-W1", "-I", "eth0", "10.8.0.1")
			require.Contains(t, w.Alice.Run(t, "curl", "-4sS", "http://web.example/whoami"), w.Server.V4.String()[:8], "names are found")
			require.Empty(t, seen.Stop())
		})
	}
	t.Run("routes", func(t *testing.T) {
		w := newWorld(t)
		w.neighbours(t)
		w.Alice.Run(t, "ip", "addr", "add", "192.168.45.10/24", "dev", "eth0")
		w.Bob.Run(t, "ip", "addr", "add", "192.168.45.11/24", "dev", "eth0")
		w.add(t, "alice", "routes", []string{"192.168.44.0/24", "fd44::/64", "203.0.113.64/27"}, "dns", false)
		w.server(t)
		seen := w.Cafe.Capture(t, "br0", "(icmp or (icmp6 and ip6[40] = 128)) and ether src "+w.mac(t))
		ping := func() {
			for _, to := range []string{"192.168.44.11", "fd44::11"} {
				w.Alice.Try("ping", "-c1", "-W1", to)
				w.Alice.Try("ping", "-c1", "-W1", "-I", "eth0", to)
			}
		}
		ping()
		require.GreaterOrEqual(t, len(seen.Stop()), 4, "the detector")
		w.client(t)
		w.seenAs(t, w.Server.V4.String())
		seen = w.Cafe.Capture(t, "br0", "(icmp or (icmp6 and ip6[40] = 128)) and ether src "+w.mac(t))
		ping()
		require.Empty(t, seen.Stop())
		w.Alice.Run(t, "ping", "-c1", "-W5", "192.168.45.11")
	})
}
