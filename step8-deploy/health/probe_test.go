package health

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"stepvpn/shared/lab/zone"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// serve runs a resolver that answers as f does. It returns the resolver's port.
func serve(t *testing.T, f func(zone.Query) *dns.Msg) uint16 {
	t.Helper()
	s, err := zone.Start("127.0.0.1:0", f)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return uint16(s.Addr().(*net.UDPAddr).Port)
}

func rcode(code int) func(zone.Query) *dns.Msg {
	return func(q zone.Query) *dns.Msg { return new(dns.Msg).SetRcode(q.Msg, code) }
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(zone.Query) *dns.Msg
		want   Answer
	}{
		{"no such name", zone.Answer, Found},
		{"a wildcard", rcode(dns.RcodeSuccess), Found},
		{"SERVFAIL", rcode(dns.RcodeServerFailure), Failure},
		{"REFUSED", rcode(dns.RcodeRefused), Failure},
		{"silence", func(zone.Query) *dns.Msg { return nil }, Silence},
		{"an answer to another query", func(q zone.Query) *dns.Msg {
			m := new(dns.Msg).SetRcode(q.Msg, dns.RcodeSuccess)
			m.Id++
			return m
		}, Silence},
		{"no answer", func(q zone.Query) *dns.Msg { return q.Msg }, Silence},
	} {
		t.Run(c.name, func(t *testing.T) {
			limit := 20 * time.Second
			if c.want == Silence {
				limit = 100 * time.Millisecond
			}
			ask := names([]netip.Addr{loopback}, serve(t, c.answer), limit)
			require.Equal(t, c.want, ask(t.Context()))
		})
	}
	// A connected socket keeps others from its port, and receives only what its peer sends.
	deaf, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
	require.NoError(t, err)
	defer deaf.Close()
	port := deaf.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	require.Equal(t, Failure, names([]netip.Addr{loopback}, port, 20*time.Second)(t.Context()), "its host says that no program listens")
}

// No two queries are the same, so no cache can answer one.
func TestNoNameTwice(t *testing.T) {
	seen := make(chan string, 10)
	ask := names([]netip.Addr{loopback}, serve(t, func(q zone.Query) *dns.Msg {
		seen <- q.Msg.Question[0].Name
		return zone.Answer(q)
	}), 20*time.Second)
	require.Equal(t, Found, ask(t.Context()))
	require.Equal(t, Found, ask(t.Context()))
	require.NotEqual(t, <-seen, <-seen)
}

// A resolver that does not answer is asked again after all others.
func TestTurns(t *testing.T) {
	port := serve(t, zone.Answer)
	dead := netip.MustParseAddr("127.0.0.2") // nobody listens there
	ask := names([]netip.Addr{dead, loopback}, port, 20*time.Second)
	require.Equal(t, Failure, ask(t.Context()))
	require.Equal(t, Found, ask(t.Context()))
	require.Equal(t, Found, ask(t.Context()))
}

// A probe that is stopped does not wait for an answer.
func TestStops(t *testing.T) {
	var asked atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	ask := names([]netip.Addr{loopback}, serve(t, func(zone.Query) *dns.Msg { asked.Add(1); cancel(); return nil }), time.Hour)
	require.Equal(t, Silence, ask(ctx))
	require.EqualValues(t, 1, asked.Load())
}

// The kernel answers echo requests: here, requests to this host itself.
func TestEcho(t *testing.T) {
	for _, a := range []string{"127.0.0.1", "::1"} {
		require.True(t, Echo([]netip.Addr{netip.MustParseAddr(a)}, OpenEcho("lo"))(t.Context()), a)
	}
	require.False(t, Echo(nil, OpenEcho("lo"))(t.Context()))
	require.False(t, Echo([]netip.Addr{loopback}, OpenEcho("nosuch0"))(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	nobody := netip.MustParseAddr("203.0.113.1") // lo does not lead there
	turns := Echo([]netip.Addr{nobody, loopback}, OpenEcho("lo"))
	require.False(t, turns(ctx))
	require.True(t, turns(t.Context()), "it is the next one's turn")
}
