package supervise

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

// nameserver starts a nameserver on loopback that knows only vpn.example.org.
func nameserver(t *testing.T) netip.AddrPort {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg).SetReply(q)
		header := dns.RR_Header{Name: q.Question[0].Name, Rrtype: q.Question[0].Qtype, Class: dns.ClassINET, Ttl: 60}
		switch {
		case header.Name != "vpn.example.org.":
			a.Rcode = dns.RcodeNameError
		case header.Rrtype == dns.TypeA:
			a.Answer = append(a.Answer, &dns.A{Hdr: header, A: net.IPv4(192, 0, 2, 7)})
		case header.Rrtype == dns.TypeAAAA:
			a.Answer = append(a.Answer, &dns.AAAA{Hdr: header, AAAA: net.ParseIP("2001:db8::7")})
		}
		w.WriteMsg(a)
	})}
	var wg sync.WaitGroup
	wg.Go(func() { server.ActivateAndServe() })
	t.Cleanup(func() { server.Shutdown(); wg.Wait() })
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}
