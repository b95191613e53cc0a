package resolver

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"stepvpn/shared/netlab"
)

func silent(*dns.Msg, bool) *dns.Msg { return nil }

func rcode(code int) script {
	return func(reply *dns.Msg, _ bool) *dns.Msg {
		reply.Rcode = code
		return reply
	}
}

// nobody is an address where nobody listens.
func nobody(t *testing.T) netip.AddrPort { return netip.AddrPortFrom(loopback4, freePort()) }

func TestUpstreamSeesNothingOfTheClient(t *testing.T) {
	up := serve(t, zone(t, exampleZone...))
	s := start(t, Config{Upstreams: upstreams(up)})
	spellings, ids := make(map[string]bool), make(map[uint16]bool)
	const n = 40
	for range n {
		q := new(dns.Msg).SetQuestion("a-name-of-many-letters.example.", dns.TypeA).SetEdns0(4096, true)
		q.Id = 7
		opt := q.IsEdns0()
		opt.Option = append(opt.Option,
			&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IPv4(198, 51, 100, 0)},
			&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"})
		exchange(t, s, "udp", q)
		s.cache.forget()
	}
	for _, q := range up.questions() {
		opt := q.IsEdns0()
		require.NotNil(t, opt)
		require.Empty(t, opt.Option)
		require.EqualValues(t, maxUDP, opt.UDPSize())
		require.True(t, opt.Do(), "DO is passed on")
		require.True(t, q.RecursionDesired)
		spellings[q.Question[0].Name], ids[q.Id] = true, true
	}
	require.Greater(t, len(spellings), n/2, "0x20")
	require.Greater(t, len(ids), n/2)
}

func TestEachQuestionHasANewPort(t *testing.T) {
	verifyNoLeaks(t)
	ports := make(map[uint16]bool)
	up := rawUpstream(t, func(conn *net.UDPConn, from netip.AddrPort, q *dns.Msg) {
		ports[from.Port()] = true // one goroutine, and the test waits for its reply
		reply(t, conn, from, q, "192.0.2.80")
	})
	s := start(t, Config{Upstreams: []netip.AddrPort{up}})
	const n = 20
	for i := range n {
		ask(t, s, strings.Repeat("x", i+1)+".example.", dns.TypeA)
	}
	require.Greater(t, len(ports), n/2)
}

// With and without DO there are two answers, and with CD another one.
func TestSignaturesAreForThoseWhoAsk(t *testing.T) {
	signed := zone(t, exampleZone...)
	up := serve(t, func(reply *dns.Msg, tcp bool) *dns.Msg {
		reply = signed(reply, tcp)
		reply.AuthenticatedData = true
		reply.Answer = append(reply.Answer, rr(t, "www.example. 300 IN RRSIG A 8 2 300 20300101000000 20200101000000 1 example. AAAA"))
		return reply
	})
	s := start(t, Config{Upstreams: upstreams(up)})
	for range 2 {
		require.NotContains(t, dig(t, s, "www.example"), "RRSIG")
		out := dig(t, s, "www.example", "+dnssec")
		require.Contains(t, out, "RRSIG")
		require.NotContains(t, strings.Split(out, "QUESTION")[0], " ad", "nothing was validated here")
		require.Contains(t, dig(t, s, "www.example", "+cdflag"), " cd;")
	}
	require.Contains(t, s.String(), "from cache 3, joined 0, upstream 3")
}

func TestNextUpstreamWhenOneFails(t *testing.T) {
	good := serve(t, zone(t, exampleZone...))
	l := testLimits()
	l.try = 300 * time.Millisecond // for one that stays silent
	for name, bad := range map[string]netip.AddrPort{
		"silent":     serve(t, silent).addr,
		"refused":    nobody(t),
		"SERVFAIL":   serve(t, rcode(dns.RcodeServerFailure)).addr,
		"REFUSED":    serve(t, rcode(dns.RcodeRefused)).addr,
		"NOTIMP":     serve(t, rcode(dns.RcodeNotImplemented)).addr,
		"referral":   serve(t, func(m *dns.Msg, _ bool) *dns.Msg { m.Ns = []dns.RR{rr(t, "example. 60 IN NS ns.example.")}; return m }).addr,
		"no TCP end": serve(t, func(m *dns.Msg, tcp bool) *dns.Msg { m.Truncated = true; return m }).addr,
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, Config{Upstreams: []netip.AddrPort{bad, good.addr}, limits: l})
			reply := ask(t, s, "www.example.", dns.TypeA)
			require.Equal(t, dns.RcodeSuccess, reply.Rcode)
			require.Len(t, reply.Answer, 1)
			require.Contains(t, s.String(), "upstream 1, failed 0;")
		})
	}
}

// A dead upstream is not asked for a while. Then one question finds out whether
// it lives again.
func TestDeadUpstreamIsSkippedForAWhile(t *testing.T) {
	u := &upstream{}
	now, down := time.Now(), 10*time.Second
	for range downAfter {
		require.True(t, u.alive(now, down))
		u.heard(net.ErrClosed, now, down)
	}
	require.False(t, u.alive(now, down))
	require.False(t, u.alive(now.Add(down-1), down))
	require.True(t, u.alive(now.Add(down), down), "it is tried again")
	require.False(t, u.alive(now.Add(down), down), "by one question only")
	u.heard(net.ErrClosed, now.Add(down), down)
	require.False(t, u.alive(now.Add(down+1), down))
	require.True(t, u.alive(now.Add(2*down), down))
	u.heard(nil, now.Add(2*down), down)
	require.True(t, u.alive(now.Add(2*down), down))
	require.True(t, u.alive(now.Add(2*down), down), "it is back")

	good, dead := serve(t, zone(t, exampleZone...)), nobody(t)
	l := testLimits()
	l.down = time.Hour
	s := start(t, Config{Upstreams: []netip.AddrPort{dead, good.addr}, limits: l})
	for i := range 10 {
		require.NotEqual(t, dns.RcodeServerFailure, ask(t, s, strings.Repeat("x", i+1)+".example.", dns.TypeA).Rcode)
	}
	require.Equal(t, downAfter, s.upstreams[0].failures)
}

// An upstream that answers one question of many says so to the log once in a while.
func TestAnUpstreamThatComesAndGoesDoesNotFillTheLog(t *testing.T) {
	log := captureLog(t)
	u := &upstream{}
	now, down := time.Now(), 10*time.Second
	for _, at := range []time.Time{now, now.Add(down)} {
		log.Reset()
		for range 100 {
			for range downAfter {
				u.heard(net.ErrClosed, at, down)
			}
			u.heard(nil, at, down)
		}
		require.Equal(t, 1, strings.Count(log.String(), "upstream does not answer"))
		require.Equal(t, 1, strings.Count(log.String(), "upstream answers again"))
	}
}

func TestServfailWhenAllAreDead(t *testing.T) {
	a, b := serve(t, silent), serve(t, silent)
	l := testLimits()
	l.try, l.failure = 300*time.Millisecond, time.Hour
	s := start(t, Config{Upstreams: upstreams(a, b), limits: l})
	for range 3 {
		require.Contains(t, dig(t, s, "www.example"), "status: SERVFAIL")
	}
	require.Contains(t, s.String(), "from cache 2, joined 0, upstream 1, failed 1", "RFC 9520: a failure is remembered")
	netlab.Eventually(t, limit, "each is asked again, as a datagram may get lost", func() bool {
		return len(a.questions()) == rounds && len(b.questions()) == rounds
	})

	s = start(t, Config{Upstreams: []netip.AddrPort{nobody(t)}})
	require.Contains(t, dig(t, s, "www.example"), "status: SERVFAIL", "at once: nobody listens there")
}

// It is not asked again: its answer would be the same.
func TestServfailWhenAllSaySo(t *testing.T) {
	up := serve(t, rcode(dns.RcodeServerFailure))
	s := start(t, Config{Upstreams: upstreams(up)})
	require.Equal(t, dns.RcodeServerFailure, ask(t, s, "www.example.", dns.TypeA).Rcode)
	require.Len(t, up.questions(), 1)
}

func TestLostQuestionIsAskedAgain(t *testing.T) {
	first := make(chan struct{}, 1)
	first <- struct{}{}
	known := zone(t, exampleZone...)
	up := serve(t, func(m *dns.Msg, tcp bool) *dns.Msg {
		select {
		case <-first:
			return nil
		default:
			return known(m, tcp)
		}
	})
	l := testLimits()
	l.try = 300 * time.Millisecond
	s := start(t, Config{Upstreams: upstreams(up), limits: l})
	require.Len(t, ask(t, s, "www.example.", dns.TypeA).Answer, 1)
}

func TestUpstreamWithoutEDNS(t *testing.T) {
	known := zone(t, exampleZone...)
	up := serve(t, func(m *dns.Msg, tcp bool) *dns.Msg {
		if m.IsEdns0() != nil {
			return &dns.Msg{MsgHdr: dns.MsgHdr{Id: m.Id, Response: true, Rcode: dns.RcodeFormatError}}
		}
		return known(m, tcp)
	})
	s := start(t, Config{Upstreams: upstreams(up)})
	require.Len(t, ask(t, s, "www.example.", dns.TypeA).Answer, 1)
}

// A network may let UDP through to nobody, or an upstream may not speak it. TCP is tried then, and is asked first as soon
// as it is known that UDP is of no use.
func TestUpstreamsThatAnswerOnlyOverTCP(t *testing.T) {
	known := zone(t, exampleZone...)
	overTCP := func(m *dns.Msg, tcp bool) *dns.Msg {
		if !tcp {
			return nil
		}
		return known(m, tcp)
	}
	for name, n := range map[string]int{"one": 1, "as many as there may be": maxUpstreams} {
		t.Run("silent on UDP, "+name, func(t *testing.T) {
			var us []*upstreamServer
			for range n {
				us = append(us, serve(t, overTCP))
			}
			l := testLimits()
			l.try, l.down = 300*time.Millisecond, time.Hour
			s := start(t, Config{Upstreams: upstreams(us...), limits: l})
			asked := func() (n int) {
				for _, u := range us {
					n += len(u.questions())
				}
				return n
			}
			for i := range downAfter + 5 {
				before := asked()
				require.Equal(t, dns.RcodeNameError, ask(t, s, strings.Repeat("x", i+1)+".example.", dns.TypeA).Rcode)
				if i < downAfter {
					require.Greater(t, asked(), before+1, "UDP is tried first")
				} else {
					require.Equal(t, before+1, asked(), "UDP is not tried")
				}
			}
			require.Contains(t, s.String(), "upstream 8, failed 0;")
		})
	}
	t.Run("no UDP port", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		server := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			w.WriteMsg(known(new(dns.Msg).SetReply(q), true))
		})}
		started, done := make(chan struct{}), make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { server.ActivateAndServe(); close(done) }()
		<-started
		t.Cleanup(func() { server.Shutdown(); <-done })
		s := start(t, Config{Upstreams: []netip.AddrPort{l.Addr().(*net.TCPAddr).AddrPort()}})
		require.Equal(t, trueAddr, ask(t, s, "www.example.", dns.TypeA).Answer[0].(*dns.A).A.String())
	})
}
