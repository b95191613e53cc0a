package resolver

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
	"stepvpn/step2-tun/tun"
	"stepvpn/step3-tunnel/tunnel"
)

func addrs(list string) (all []netip.Addr) {
	for s := range strings.SplitSeq(list, ",") {
		if s != "" {
			all = append(all, netip.MustParseAddr(s))
		}
	}
	return all
}

func ports(list string) (all []netip.AddrPort) {
	for s := range strings.SplitSeq(list, ",") {
		if s != "" {
			all = append(all, netip.MustParseAddrPort(s))
		}
	}
	return all
}

func TestStartRefuses(t *testing.T) {
	verifyNoLeaks(t)
	port := freePort()
	const up = "192.0.2.53:53"
	for _, c := range []struct{ addrs, upstreams, device, want string }{
		{"", up, "", "resolver: no address to listen on"},
		{"0.0.0.0", up, "", "resolver: cannot listen on 0.0.0.0: it must be one address of this host"},
		{"ff02::1", up, "", "resolver: cannot listen on ff02::1: it must be one address of this host"},
		{"127.0.0.1,127.0.0.1", up, "", "resolver: address 127.0.0.1 is given twice"},
		{"127.0.0.1,::ffff:127.0.0.1", up, "", "resolver: address ::ffff:127.0.0.1 is given twice"},
		{strings.Repeat("127.0.0.1,", 17), up, "", "resolver: 17 addresses to listen on: at most 16 are possible"},
		{"127.0.0.1", "", "", "resolver: no upstream resolver to ask"},
		{"127.0.0.1", "0.0.0.0:53", "", "resolver: upstream 0.0.0.0:53 cannot be asked"},
		{"127.0.0.1", "192.0.2.53:0", "", "resolver: upstream 192.0.2.53:0 cannot be asked"},
		{"127.0.0.1", up + "," + up, "", "resolver: upstream 192.0.2.53:53 is given twice"},
		{"127.0.0.1", strings.Repeat(up+",", 9), "", "resolver: too many upstreams: at most 8 are possible"},
		{"127.0.0.1", fmt.Sprintf("127.0.0.1:%d", port), "", fmt.Sprintf("resolver: upstream 127.0.0.1:%d is this resolver itself", port)},
		{"127.0.0.1", up, "nonesuch", fmt.Sprintf("resolver: 127.0.0.1, udp port %d: there is no interface \"nonesuch\" on this host", port)},
		{"127.0.0.1,192.0.2.1", up, "", fmt.Sprintf("resolver: 192.0.2.1, udp port %d: this host does not have the address", port)},
		{"127.0.0.1,2001:db8::1", up, "", fmt.Sprintf("resolver: 2001:db8::1, udp port %d: this host does not have the address", port)},
	} {
		_, err := Start(Config{Addrs: addrs(c.addrs), Upstreams: ports(c.upstreams), Device: c.device, Port: port})
		require.EqualError(t, err, c.want)
	}
	// Nothing is left of those that had begun.
	s, err := Start(Config{Addrs: addrs("127.0.0.1"), Upstreams: ports(up), Port: port})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

// Someone else's resolver on every address, or on one over TCP only.
func TestPortIsTaken(t *testing.T) {
	verifyNoLeaks(t)
	for network, at := range map[string]string{"udp": "0.0.0.0", "tcp": "127.0.0.1"} {
		port := freePort()
		where := net.JoinHostPort(at, fmt.Sprint(port))
		var taken interface{ Close() error }
		var err error
		if network == "udp" {
			taken, err = net.ListenPacket(network, where)
		} else {
			taken, err = net.Listen(network, where)
		}
		require.NoError(t, err)
		_, err = Start(Config{Addrs: addrs("127.0.0.1"), Upstreams: ports("192.0.2.53:53"), Port: port})
		require.EqualError(t, err, fmt.Sprintf("resolver: 127.0.0.1, %s port %d: another program has it", network, port))
		require.NoError(t, taken.Close())
	}
}

func TestUpstreamsThatCannotBeAsked(t *testing.T) {
	for bad, want := range map[string]string{
		"1.1.1.1:0":                      "resolver: upstream 1.1.1.1:0 cannot be asked",
		"[::]:53":                        "resolver: upstream [::]:53 cannot be asked",
		"1.1.1.1:53,[::ffff:1.1.1.1]:53": "resolver: upstream [::ffff:1.1.1.1]:53 is given twice",
		"1.1.1.1:53" + strings.Repeat(",1.1.1.2:53", 8): "resolver: too many upstreams: at most 8 are possible",
	} {
		_, err := Start(Config{Addrs: addrs("127.0.0.1"), Upstreams: ports(bad)})
		require.EqualError(t, err, want)
	}
}

// The weak host model: a packet to the tunnel's address is accepted on any
// interface. With Device only the tunnel's clients are answered.
func TestOnlyTheTunnelIsAnswered(t *testing.T) {
	lab := netlab.New(t)
	up := serve(t, zone(t, exampleZone...))
	open := func(h *netlab.Host, list string) (dev *tun.Device) {
		var prefixes []netip.Prefix
		for _, a := range addrs(list) {
			prefixes = append(prefixes, netip.PrefixFrom(a, map[bool]int{true: 24, false: 64}[a.Is4()]))
		}
		var err error
		h.Do(func() { dev, err = tun.Open(tun.Config{Name: "vpn0", Addrs: prefixes}) })
		require.NoError(t, err)
		return dev
	}
	server, alice := open(lab.Server, "10.8.0.1,fd00:8::1"), open(lab.Alice, "10.8.0.2,fd00:8::2")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- tunnel.Run(ctx, server, alice, new(tunnel.Counters)) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
		server.Close()
		alice.Close()
	})
	// The neighbour knows the way.
	lab.Internet.Run(t, "ip", "route", "add", "10.8.0.1", "via", lab.Server.V4.String())
	lab.Internet.Run(t, "ip", "route", "add", "fd00:8::1", "via", lab.Server.V6.String())

	for _, device := range []string{"", "vpn0"} {
		var s *Server
		var err error
		lab.Server.Do(func() {
			s, err = Start(Config{Addrs: addrs("10.8.0.1,fd00:8::1"), Device: device, Upstreams: upstreams(up)})
		})
		require.NoError(t, err)
		for _, at := range []string{"@10.8.0.1", "@fd00:8::1"} {
			for _, how := range []string{"+notcp", "+tcp"} {
				query := []string{at, how, "+tries=1", "+timeout=20", "+short", "www.example"}
				require.Equal(t, trueAddr, strings.TrimSpace(lab.Alice.Run(t, "dig", query...)), "%s %s", device, query)
				before := s.counters[queries].Load()
				query[3] = "+timeout=2"
				out, err := lab.Internet.Try("dig", query...)
				if device == "" {
					require.NoError(t, err)
					require.Equal(t, trueAddr, strings.TrimSpace(out), "this is what Device is for")
				} else {
					require.Error(t, err, out)
					require.NotContains(t, out, trueAddr)
					require.Equal(t, before, s.counters[queries].Load())
				}
			}
		}
		require.NoError(t, s.Close())
	}
}

// Check says beforehand what would go wrong, also for addresses that are not there yet.
func TestCheck(t *testing.T) {
	cfg := Config{Addrs: addrs("192.0.2.1,2001:db8::1"), Device: "nonesuch", Upstreams: ports("192.0.2.53:53"), Port: freePort()}
	require.NoError(t, Check(cfg))
	for _, at := range []string{"0.0.0.0", "[::]"} {
		taken, err := net.ListenPacket("udp", fmt.Sprintf("%s:%d", at, cfg.Port))
		require.NoError(t, err)
		require.ErrorContains(t, Check(cfg), "another program has it")
		require.NoError(t, taken.Close())
	}
}
