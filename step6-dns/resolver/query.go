package resolver

import (
	"fmt"
	"net"
	"strings"

	"github.com/miekg/dns"
)

// A key is a question as the cache knows it. The class is IN.
type key struct {
	name   string // in lower case
	qtype  uint16
	do, cd bool // wants signatures; checking disabled
}

// ServeDNS answers one query, as a dns.Handler: from what is known here, or else from upstream, in a goroutine, as a
// dns.Server reads no more of a TCP connection until ServeDNS returns. Exactly one reply is written.
func (s *Server) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	if why, rcode := refusal(q); why != none {
		s.counts.refuse(why)
		respond(w, q, failed(rcode))
		return
	}
	opt := q.IsEdns0()
	k := key{dns.CanonicalName(q.Question[0].Name), q.Question[0].Qtype, opt != nil && opt.Do(), q.CheckingDisabled}
	if m := local(k); m != nil {
		s.counts.local.Add(1)
		respond(w, q, m)
		return
	}
	if found := s.cache.get(k, s.now()); found != nil {
		s.counts.cached.Add(1)
		respond(w, q, found.message(s.now()))
		return
	}
	client := s.cfg.Client(addrOf(w.RemoteAddr()))
	if !s.waiting.enter(client) {
		s.counts.refuse(TooMany)
		respond(w, q, failed(dns.RcodeServerFailure))
		return
	}
	s.workers.Go(func() {
		defer s.waiting.leave(client)
		respond(w, q, s.lookup(k).message(s.now()))
	})
}

// lookup asks upstream, once for all clients that ask the same meanwhile (a "singleflight"). That saves questions, and it
// saves from an attacker: many equal questions on their way would give a forged answer as many chances.
func (s *Server) lookup(k key) *answer {
	s.counts.joined.Add(1)
	found, _, _ := s.flight.Do(fmt.Sprint(k), func() (any, error) {
		if found := s.cache.get(k, s.now()); found != nil {
			return found, nil // it came meanwhile
		}
		s.counts.joined.Add(^uint64(0)) // it is the first, and has joined nobody
		s.counts.upstream.Add(1)
		found := s.ask(k)
		s.cache.put(k, found)
		return found, nil
	})
	return found.(*answer)
}

// respond writes what answers q: the rcode and the records of found, which nothing else may use.
func respond(w dns.ResponseWriter, q, found *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	m.Rcode, m.Answer, m.Ns = found.Rcode, found.Answer, found.Ns
	for _, rr := range append(m.Answer[:len(m.Answer):len(m.Answer)], m.Ns...) {
		// Some clients spell the name in a random way, and look for the same in the answer.
		if h := rr.Header(); strings.EqualFold(h.Name, q.Question[0].Name) {
			h.Name = q.Question[0].Name
		}
	}
	size, opt := dns.MinMsgSize, q.IsEdns0()
	if opt != nil {
		m.SetEdns0(maxUDP, opt.Do())
		size = min(max(size, int(opt.UDPSize())), maxUDP)
	}
	if _, tcp := w.RemoteAddr().(*net.TCPAddr); tcp {
		size = dns.MaxMsgSize
	}
	m.Truncate(size) // what does not fit is asked for again, over TCP
	b, err := m.Pack()
	if err != nil { // it has come from a message, so it can be packed; but say something
		b, _ = (&dns.Msg{MsgHdr: dns.MsgHdr{Id: q.Id, Response: true, Rcode: dns.RcodeServerFailure}}).Pack()
	}
	w.Write(b) // a client that does not get it asks again
}

// failed returns a message without records.
func failed(rcode int) *dns.Msg { return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: rcode}} }
