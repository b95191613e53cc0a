package resolver

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"stepvpn/shared/soak"
)

// 1,000 queries a second for some seconds, and each is answered rightly. Half of them
// the cache knows. The client asks once and waits; on a busy machine it takes
// longer to ask, and never waits for more answers than the sockets can hold.
func TestNoQueryIsLost(t *testing.T) {
	total, rate := soak.Pick(t, 2000, 10_000), 1000
	const burst, outstanding = 50, 400
	var received atomic.Int64
	up := serve(t, func(m *dns.Msg, _ bool) *dns.Msg {
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 300}, A: net.IPv4(192, 0, 2, 80)}}
		return m
	})
	s := start(t, Config{Upstreams: upstreams(up), limits: defaultLimits})
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(s.at(loopback4))))
	require.NoError(t, err)
	defer conn.Close()
	conn.SetReadBuffer(1 << 20)

	begin := time.Now()
	var sending time.Duration
	sent := make(chan error, 1)
	go func() {
		for i := 0; i < total; {
			due := min(int(time.Since(begin).Seconds()*float64(rate))+1, total, i+burst, int(received.Load())+outstanding)
			for ; i < due; i++ {
				name := fmt.Sprintf("popular%d.example.", i%100)
				if i%2 == 1 {
					name = fmt.Sprintf("unique%d.example.", i)
				}
				q := new(dns.Msg).SetQuestion(name, dns.TypeA)
				q.Id = uint16(i)
				b, err := q.Pack()
				if err == nil {
					_, err = conn.Write(b)
				}
				if err != nil {
					sent <- err
					return
				}
			}
			time.Sleep(time.Millisecond)
		}
		sending = time.Since(begin)
		sent <- nil
	}()

	answered := make([]bool, total)
	n := 0
	buf := make([]byte, 4096)
	for n < total {
		conn.SetReadDeadline(time.Now().Add(limit)) // of silence
		size, err := conn.Read(buf)
		require.NoError(t, err, "%d of %d queries are answered; %v", n, total, s)
		var m dns.Msg
		require.NoError(t, m.Unpack(buf[:size]))
		id := int(binary.BigEndian.Uint16(buf))
		require.False(t, answered[id], "answered twice")
		require.Len(t, m.Answer, 1, "%v", &m)
		require.Contains(t, m.Question[0].Name, fmt.Sprint(id%100))
		require.Equal(t, trueAddr, m.Answer[0].(*dns.A).A.String())
		answered[id] = true
		n++
		received.Add(1)
	}
	require.NoError(t, <-sent)
	t.Logf("%d queries in %.1f s, none lost; %v", total, sending.Seconds(), s)
}
