package resolver

import (
	"net"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

// BenchmarkCached is what a query costs whose answer is known, without the
// sockets.
func BenchmarkCached(b *testing.B) {
	s := start(b, Config{Upstreams: upstreams(serve(b, zone(b, exampleZone...)))})
	require.Len(b, ask(b, s, "www.example.", dns.TypeA).Answer, 1)
	query := pack(b, new(dns.Msg).SetQuestion("www.example.", dns.TypeA).SetEdns0(1232, false))
	client := asker{addr: loopback4, send: func(reply []byte) {
		if len(reply) < 50 {
			b.Fatal("no answer")
		}
	}}
	b.ReportAllocs()
	for b.Loop() {
		s.handle(query, client)
	}
}

// BenchmarkCachedUDP is the same over sockets, with 16 queries on their way.
func BenchmarkCachedUDP(b *testing.B) {
	s := start(b, Config{Upstreams: upstreams(serve(b, zone(b, exampleZone...)))})
	query := pack(b, new(dns.Msg).SetQuestion("www.example.", dns.TypeA).SetEdns0(1232, false))
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(s.at(loopback4))))
	require.NoError(b, err)
	defer conn.Close()
	buf := make([]byte, 4096)
	for range 16 {
		conn.Write(query)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Read(buf); err != nil {
			b.Fatal(err)
		}
		conn.Write(query)
	}
}
