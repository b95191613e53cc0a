package resolver

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// This file follows a client's query from the message to the reply: handle parses it (parse.go) and looks into the cache,
// lookup asks upstream if nothing is there (once for all clients that wait for the same), and respond sends the reply.

// An asker is a client that has sent a query, and the way for the reply. send may be called by several goroutines.
type asker struct {
	addr netip.Addr
	tcp  bool
	send func(reply []byte)
}

// A key is a question as the cache knows it. The class is IN.
type key struct {
	name   string // in lower case
	qtype  uint16
	do, cd bool // wants signatures; checking disabled
}

// handle answers a message: from what is known here, or else from upstream, in a goroutine. Exactly one reply is sent,
// unless handle reports false: then there is none.
func (s *Server) handle(message []byte, from asker) bool {
	s.count(queries)
	q, k, what, reply := parse(message) // what: a counter of counters.go, or accepted
	if what == accepted {
		if found := s.cache.get(k, s.now()); found != nil {
			what, reply = fromCache, found.message(s.now())
		} else if leave := s.waiting.enter(from.addr); leave == nil { // its share of those that wait is used up
			what, reply = tooMany, failed(dns.RcodeServerFailure)
		} else {
			s.workers.Go(func() {
				defer leave()
				respond(from, q, s.lookup(k).message(s.now()))
			})
			return true
		}
	}
	s.count(what)
	if reply != nil {
		respond(from, q, reply)
	}
	return reply != nil
}

// lookup asks upstream, once for all clients that ask the same meanwhile (a "singleflight"). That saves questions, and it
// saves from an attacker: many equal questions on their way would give a forged answer as many chances.
func (s *Server) lookup(k key) *answer {
	first := false
	found, _, _ := s.flight.Do(fmt.Sprint(k), func() (any, error) {
		if found := s.cache.get(k, s.now()); found != nil {
			return found, nil // it came meanwhile
		}
		first = true
		s.count(asked)
		found := s.ask(k)
		s.cache.put(k, found)
		return found, nil
	})
	if !first {
		s.count(joined)
	}
	return found.(*answer)
}

// respond sends what answers q: the rcode and the records of found, which nothing else may use.
func respond(to asker, q, found *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	m.Rcode, m.Answer, m.Ns = found.Rcode, found.Answer, found.Ns
	for _, rr := range records(m) {
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
	if to.tcp {
		size = dns.MaxMsgSize
	}
	m.Truncate(size) // what does not fit is asked for again, over TCP
	b, err := m.Pack()
	if err != nil { // it has come from a message, so it can be packed; but say something
		b, _ = (&dns.Msg{MsgHdr: dns.MsgHdr{Id: q.Id, Response: true, Rcode: dns.RcodeServerFailure}}).Pack()
	}
	to.send(b) // a client that does not get it asks again
}

// failed returns a message without records.
func failed(rcode int) *dns.Msg { return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: rcode}} }

// records are those that a message answers with.
func records(m *dns.Msg) []dns.RR { return slices.Concat(m.Answer, m.Ns) }
