package step8_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/shared/soak"
)

// resolves looks up web.example at a resolver, once over UDP and once over TCP.
func (w *world) resolves(resolver netip.Addr) bool {
	for _, how := range []string{"+notcp", "+tcp"} {
		out, err := w.Alice.Try("dig", "+short", "+tries=3", "+time=2", how, "@"+resolver.String(), "web.example")
		if err != nil || strings.TrimSpace(out) != w.Web.V4.String() {
			return false
		}
	}
	return true
}

// Names are asked for in the tunnel, whatever else goes through it: other networks, the
// resolver's, the server itself, one family, or what the server says.
func TestNamesWithAListOfRoutes(t *testing.T) {
	in4, in6 := netip.MustParseAddr("10.8.0.1"), netip.MustParseAddr("fd00:8::1")
	for name, routes := range map[string]any{
		"elsewhere": []string{"203.0.113.64/27", "2001:db8:80::/64"},
		"IPv4":      []string{"203.0.113.64/27"},
		"IPv6":      []string{"2001:db8:80::/64"},
		"around":    []string{"10.0.0.0/8", "fd00::/8"},
		"itself":    []string{"10.8.0.1/32", "fd00:8::1/128"},
		"pushed":    "pushed",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.Cafe.ServeDNS(t)
			w.add(t, "alice", "routes", routes)
			before := state(t, w.Alice)
			w.server(t, "routes", []string{"203.0.113.64/27"})
			require.True(t, w.resolves(w.Cafe.V4))
			client := w.client(t)
			for _, resolver := range []netip.Addr{in4, in6} {
				netlab.Eventually(t, limit, fmt.Sprintf("%v answers", resolver), func() bool { return w.resolves(resolver) })
			}
			require.Contains(t, w.Alice.Run(t, "getent", "ahostsv4", "web.example"), w.Web.V4.String())
			require.False(t, w.resolves(w.Cafe.V4))
			client.Interrupt()
			require.Zero(t, client.Wait(t), client.Log())
			require.Equal(t, before, state(t, w.Alice))
		})
	}
}

// Many firewalls let packets to port 53 pass, so a server may use it. The client receives its
// answers, however strictly its host checks where packets come from, and no other program
// reaches that port.
func TestServerOnPort53(t *testing.T) {
	for _, transport := range []string{"udp", "tcp"} {
		for _, listen := range []string{"all", "one", "IPv6"} {
			kills := soak.Pick(t, []bool{transport == "udp" || listen != "one"}, []bool{true, false})
			for _, kill := range kills {
				t.Run(fmt.Sprintf("%s listen=%s kill_switch=%v", transport, listen, kill), func(t *testing.T) {
					w := newWorld(t)
					host := w.Server.V4
					if listen == "IPv6" {
						host = w.Server.V6
					}
					at := netip.AddrPortFrom(host, 53).String()
					w.add(t, "alice", "server", at, "transport", transport, "kill_switch", kill)
					before := state(t, w.Alice)
					serve := []any{"transports", []string{transport}, "listen", []string{at}}
					if listen == "all" {
						serve[3] = []string{":53"}
					}
					w.server(t, serve...)
					strict := func(setting string) {
						for _, conf := range []string{"all", "default", "eth0"} {
							w.Alice.Write(t, "ipv4/conf/"+conf+"/rp_filter", setting)
						}
					}
					strict("1")
					client := w.client(t)
					who := w.Server.V4.String()
					for _, setting := range []string{"1", "2", "0"} {
						strict(setting)
						w.seenAs(t, who)
						require.True(t, w.resolves(netip.MustParseAddr("10.8.0.1")))
					}

					ask := func() (secrets int) {
						capture := w.Cafe.Capture(t, "br0", "dst port 53")
						for _, how := range [][]string{nil, {"+tcp"}, {"-b", w.Alice.V4.String()}} {
							args := append([]string{"+tries=1", "+time=1", "@" + host.String(), "secret.example"}, how...)
							if host.Is6() && how != nil && how[0] == "-b" {
								args[len(args)-1] = w.Alice.V6.String()
							}
							w.Alice.Try("dig", args...)
						}
						w.Alice.Try("socat", "-T1", "EXEC:echo secret.example", "UDP-SENDTO:"+at+",so-bindtodevice=eth0")
						for _, line := range capture.Stop() {
							if strings.Contains(line, "secret") {
								secrets++
							}
						}
						return secrets
					}
					require.Zero(t, ask())
					client.Interrupt()
					require.Zero(t, client.Wait(t), client.Log())
					require.Equal(t, before, state(t, w.Alice))
					require.NotZero(t, ask(), "the capture sees queries")
				})
			}
		}
	}
}
