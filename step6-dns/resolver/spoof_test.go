package resolver

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

const (
	trueAddr   = "192.0.2.80"
	forgedAddr = "192.0.2.66"
)

// rawUpstream calls play for each question over UDP. There is no TCP.
func rawUpstream(t *testing.T, play func(conn *net.UDPConn, from netip.AddrPort, q *dns.Msg)) netip.AddrPort {
	t.Helper()
	up := netip.AddrPortFrom(loopback4, freePort())
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(up))
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			if q.Unpack(buf[:n]) == nil {
				play(conn, from, q)
			}
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return up
}

// reply answers q with an address, after change.
func reply(t *testing.T, conn *net.UDPConn, to netip.AddrPort, q *dns.Msg, addr string, change ...func(*dns.Msg)) {
	m := new(dns.Msg).SetReply(q)
	m.Answer = []dns.RR{rr(t, q.Question[0].Name+" 300 IN A "+addr)}
	for _, f := range change {
		f(m)
		if len(m.Question) > 0 {
			m.Answer[0].Header().Name = m.Question[0].Name
		}
	}
	b, err := m.Pack()
	if err != nil {
		t.Error(err)
	}
	conn.WriteToUDPAddrPort(b, to)
}

// naive asks as a client would that takes whatever comes first.
func naive(t *testing.T, up netip.AddrPort, name string) string {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer conn.Close()
	b, err := new(dns.Msg).SetQuestion(name, dns.TypeA).Pack()
	require.NoError(t, err)
	_, err = conn.WriteToUDPAddrPort(b, up)
	require.NoError(t, err)
	buf := make([]byte, 4096)
	n, _, err := conn.ReadFromUDPAddrPort(buf)
	require.NoError(t, err)
	var m dns.Msg
	require.NoError(t, m.Unpack(buf[:n]))
	return m.Answer[0].(*dns.A).A.String()
}

func TestForgedAnswersAreIgnored(t *testing.T) {
	verifyNoLeaks(t)
	elsewhere, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer elsewhere.Close()
	for name, c := range map[string]struct {
		forge func(*dns.Msg)
		from  *net.UDPConn // instead of the upstream's socket
		seen  bool         // gets as far as to us
	}{
		"id":         {forge: func(m *dns.Msg) { m.Id++ }, seen: true},
		"name":       {forge: func(m *dns.Msg) { m.Question[0].Name = "other." + m.Question[0].Name }, seen: true},
		"type":       {forge: func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeTXT }, seen: true},
		"class":      {forge: func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, seen: true},
		"question":   {forge: func(m *dns.Msg) { m.Question = nil }, seen: true},
		"a query":    {forge: func(m *dns.Msg) { m.Response = false }, seen: true},
		"opcode":     {forge: func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }, seen: true},
		"other port": {forge: func(*dns.Msg) {}, from: elsewhere},
	} {
		t.Run(name, func(t *testing.T) {
			up := rawUpstream(t, func(conn *net.UDPConn, from netip.AddrPort, q *dns.Msg) {
				forger := conn
				if c.from != nil {
					forger = c.from
				}
				reply(t, forger, from, q, forgedAddr, c.forge)
				forger.WriteToUDPAddrPort([]byte("nonsense"), from)
				reply(t, conn, from, q, trueAddr)
			})
			require.Equal(t, forgedAddr, naive(t, up, "www.example."), "the forger is good enough for some")

			s := start(t, Config{Upstreams: []netip.AddrPort{up}})
			require.Equal(t, trueAddr, ask(t, s, "www.example.", dns.TypeA).Answer[0].(*dns.A).A.String())
			want := "wrong answers 0;"
			if c.seen {
				want = "wrong answers 2;"
			}
			require.Contains(t, s.String(), want)
		})
	}
}

// Who does not know the spelling, or guesses ids by the hundred, is not believed
// even when one guess is right. The question goes over TCP instead.
func TestGuessingLeadsToTCP(t *testing.T) {
	for name, forge := range map[string]func(*net.UDPConn, netip.AddrPort, *dns.Msg){
		"spelling": func(conn *net.UDPConn, from netip.AddrPort, q *dns.Msg) {
			reply(t, conn, from, q, forgedAddr, func(m *dns.Msg) { m.Question[0].Name = other(m.Question[0].Name) })
		},
		"flood": func(conn *net.UDPConn, from netip.AddrPort, q *dns.Msg) {
			for i := range uint16(maxWrong) {
				reply(t, conn, from, q, forgedAddr, func(m *dns.Msg) { m.Id += 1 + i })
			}
			reply(t, conn, from, q, forgedAddr)
		},
		"more than was asked for": func(conn *net.UDPConn, from netip.AddrPort, q *dns.Msg) {
			require.EqualValues(t, 1232, q.IsEdns0().UDPSize())
			reply(t, conn, from, q, forgedAddr, func(m *dns.Msg) {
				for m.Len() <= 1300 { // it may have come in fragments
					m.Extra = append(m.Extra, rr(t, `x.example. 300 IN TXT "`+strings.Repeat("x", 200)+`"`))
				}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			verifyNoLeaks(t)
			up := rawUpstream(t, forge)
			l, err := net.Listen("tcp", up.String())
			require.NoError(t, err)
			server := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
				m := new(dns.Msg).SetReply(q)
				m.Answer = []dns.RR{rr(t, q.Question[0].Name+" 300 IN A "+trueAddr)}
				w.WriteMsg(m)
			})}
			started, done := make(chan struct{}), make(chan struct{})
			server.NotifyStartedFunc = func() { close(started) }
			go func() { server.ActivateAndServe(); close(done) }()
			<-started
			t.Cleanup(func() { server.Shutdown(); <-done })

			s := start(t, Config{Upstreams: []netip.AddrPort{up}})
			require.Equal(t, trueAddr, ask(t, s, "www.example.", dns.TypeA).Answer[0].(*dns.A).A.String())
		})
	}
}

// other spells a name in another way.
func other(name string) string {
	if upper := strings.ToUpper(name); upper != name {
		return upper
	}
	return strings.ToLower(name)
}
