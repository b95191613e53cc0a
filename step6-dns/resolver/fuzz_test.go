package resolver

import (
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Whatever a client sends, what it gets fits, is a response, and repeats no more
// than the id and the question.
func FuzzQuery(f *testing.F) {
	for _, m := range []*dns.Msg{
		new(dns.Msg).SetQuestion("www.example.", dns.TypeA),
		new(dns.Msg).SetQuestion(`\000\.\"\255 .LOCALHOST.`, dns.TypeAAAA).SetEdns0(1232, true),
		new(dns.Msg).SetQuestion(".", dns.TypeANY),
		new(dns.Msg).SetAxfr("example."),
		new(dns.Msg).SetUpdate("example."),
		new(dns.Msg).SetNotify("example."),
	} {
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, false)
		f.Add(b, true)
		f.Add(b[:len(b)-3], false)
	}
	s := start(f, Config{Upstreams: upstreams(serve(f, rcode(dns.RcodeServerFailure)))})
	f.Fuzz(func(t *testing.T, raw []byte, tcp bool) {
		replies := make(chan []byte, 2)
		if !s.handle(raw, asker{addr: loopback4, tcp: tcp, send: func(b []byte) { replies <- b }}) {
			if len(raw) >= headerSize && raw[2]&0x80 == 0 {
				t.Fatalf("%x gets no reply", raw)
			}
			return
		}
		reply := <-replies
		m, why, rcode := new(dns.Msg), malformed, dns.RcodeFormatError
		if m.Unpack(raw) == nil && len(raw) <= maxQuery {
			why, rcode = refusal(m)
		}
		size := dns.MaxMsgSize
		if !tcp {
			size = maxUDP
			if m.IsEdns0() == nil {
				size = dns.MinMsgSize
			}
		}
		var got dns.Msg
		if err := got.Unpack(reply); err != nil {
			t.Fatalf("reply %x to %x: %v", reply, raw, err)
		}
		if !got.Response || len(reply) > size || got.Id != m.Id || why != accepted && got.Rcode != rcode {
			t.Fatalf("%x is answered by %v", raw, &got)
		}
		if len(got.Question) > 1 || len(got.Question) == 1 && got.Question[0] != m.Question[0] {
			t.Fatalf("%x: another question: %v", raw, &got)
		}
	})
}

// Whatever an upstream sends, what is believed of it is about the question, and
// what clients get of that fits.
func FuzzUpstreamAnswer(f *testing.F) {
	add := func(question string, qtype uint16, rrs ...string) {
		m := new(dns.Msg).SetQuestion(question, qtype)
		m.Response = true
		for _, text := range rrs {
			m.Answer = append(m.Answer, rr(f, text))
			m.Ns = append(m.Ns, rr(f, text))
		}
		m.SetEdns0(1232, true)
		f.Add(pack(f, m))
	}
	add("www.example.", dns.TypeA, "www.example. 300 IN A 192.0.2.80")
	add("a.example.", dns.TypeA, "a.example. 300 IN CNAME b.example.", "b.example. 1 IN A 192.0.2.80")
	add("b.example.", dns.TypeMX, "example. 300 IN SOA ns.example. h.example. 1 2 3 4 5", "example. 1 IN NSEC z.example. A MX")
	add("_x.example.", dns.TypeSVCB, `_x.example. 300 IN SVCB 1 . alpn=h2 port=53 ipv4hint=192.0.2.1`)
	add("x.example.", 65280, `x.example. 300 IN TYPE65280 \# 3 010203`)
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := new(dns.Msg)
		if m.Unpack(raw) != nil || len(m.Question) != 1 || !answerable(m.Question[0].Qtype) {
			return
		}
		opt := m.IsEdns0()
		k := key{name: dns.CanonicalName(m.Question[0].Name), qtype: m.Question[0].Qtype, do: opt != nil && opt.Do()}
		m.Rcode &= 3 // NOERROR, NXDOMAIN, and two that never come as far
		now := time.Now()
		a, err := believe(m, k, now)
		if err != nil {
			return
		}
		if a.ttl < 0 || a.ttl > maxTTL {
			t.Fatalf("kept for %v", a.ttl)
		}
		c := newCache(10, 1<<20)
		c.put(k, a)
		if found := c.get(k, now); found != nil && found != a || found == nil && a.ttl > 0 && len(a.wire) < 1<<15 {
			t.Fatal("not what was remembered")
		}
		kept := a.message(now)
		if len(kept.Extra) > 0 {
			t.Fatalf("%v", kept)
		}
		for _, rr := range kept.Answer {
			if h := rr.Header(); h.Class != dns.ClassINET || h.Ttl > uint32(maxTTL/time.Second) {
				t.Fatalf("%v", rr)
			}
		}
		for _, size := range []int{512, maxUDP, dns.MaxMsgSize} {
			q := new(dns.Msg).SetQuestion(k.name, k.qtype).SetEdns0(uint16(size), k.do)
			var b []byte
			respond(asker{tcp: size == dns.MaxMsgSize, send: func(r []byte) { b = r }}, q, a.message(now))
			var got dns.Msg
			if err := got.Unpack(b); err != nil || len(b) > size || got.Rcode != kept.Rcode {
				t.Fatalf("%d bytes of at most %d: %v: %v", len(b), size, err, &got)
			}
		}
	})
}
