package resolver

import (
	"net/netip"

	"github.com/miekg/dns"
)

// An asker is where a query came from.
type asker struct {
	addr netip.Addr
	tcp  bool
	// send is called exactly once for each query, from any goroutine. nil
	// stands for no reply.
	send func(reply []byte)
}

// A query is what is known of one that may be answered.
type query struct {
	id       uint16
	opcode   int
	rd, cd   bool           // recursion desired, checking disabled
	question []dns.Question // the one, in the client's own spelling; none if it could not be read
	edns, do bool           // has an OPT record, and asks for signatures
	size     int            // bytes that the reply may have
}

// A key is a question as the cache knows it. The class is IN.
type key struct {
	name   string // in lower case
	qtype  uint16
	do, cd bool
}

// handle answers one query. It does not keep raw. It returns when the reply is
// sent, or when a goroutine will send it.
func (s *Server) handle(raw []byte, a asker) {
	s.counts.queries.Add(1)
	q, why, rcode := parse(raw, a.tcp)
	switch {
	case why == NotQuery, why == Malformed && rcode == silence:
		s.counts.refuse(why)
		a.send(nil)
		return
	case why != none:
		s.counts.refuse(why)
		a.send(q.refuse(rcode))
		return
	}

	k := q.key()
	if m := local(k); m != nil {
		s.counts.local.Add(1)
		a.send(q.reply(m))
		return
	}
	now := s.now()
	if found := s.known.cached(k, now); found != nil {
		s.counts.cached.Add(1)
		a.send(q.reply(found.message(now)))
		return
	}
	client := s.cfg.Client(a.addr)
	if !s.waiting.enter(client) {
		s.counts.refuse(TooMany)
		a.send(q.refuse(dns.RcodeServerFailure))
		return
	}
	s.workers.Go(func() {
		defer s.waiting.leave(client)
		found := s.lookup(k)
		if s.ctx.Err() != nil {
			a.send(nil)
			return
		}
		a.send(q.reply(found.message(s.now())))
	})
}

// none is the reason of a query that is answered.
const none = reasons

// silence is the rcode for what gets no reply.
const silence = -1

// parse reads a query. Unless the reason is none, the query is to be refused by
// the rcode; then q holds what could be read.
func parse(raw []byte, tcp bool) (q query, why Reason, rcode int) {
	var m dns.Msg
	err := m.Unpack(raw)
	switch {
	case len(raw) < headerSize:
		return q, Malformed, silence
	case m.Response:
		// A reply to it could go round in circles for ever.
		return q, NotQuery, silence
	}
	q = query{id: m.Id, opcode: m.Opcode, rd: m.RecursionDesired, cd: m.CheckingDisabled, size: dns.MinMsgSize}
	if tcp {
		q.size = dns.MaxMsgSize
	}
	if m.Opcode != dns.OpcodeQuery {
		return q, NotImplemented, dns.RcodeNotImplemented
	}
	if err != nil || len(raw) > maxQuery || len(m.Question) != 1 {
		return q, Malformed, dns.RcodeFormatError
	}
	q.question = m.Question
	if !q.readOPT(m.Extra, tcp) {
		return q, Malformed, dns.RcodeFormatError
	}
	if opt := m.IsEdns0(); opt != nil && opt.Version() > 0 {
		return q, BadVersion, dns.RcodeBadVers
	}
	switch asked := m.Question[0]; {
	case asked.Qclass != dns.ClassINET:
		return q, BadClass, dns.RcodeRefused
	case !answerable(asked.Qtype):
		return q, BadType, dns.RcodeRefused
	case len(m.Answer) > 0, len(m.Ns) > 0:
		return q, Malformed, dns.RcodeFormatError
	case !q.rd:
		return q, NotRecursive, dns.RcodeRefused
	}
	return q, none, 0
}

// headerSize is that of a DNS message in bytes.
const headerSize = 12

// readOPT takes from the additional section what the client can do (RFC 6891).
// The options themselves are ignored. It reports false if there is more than
// one OPT record.
func (q *query) readOPT(extra []dns.RR, tcp bool) bool {
	for _, rr := range extra {
		opt, ok := rr.(*dns.OPT)
		if !ok {
			continue
		}
		if q.edns || opt.Hdr.Name != "." {
			return false
		}
		q.edns, q.do = true, opt.Do()
		if !tcp {
			q.size = min(max(int(opt.UDPSize()), dns.MinMsgSize), maxUDP)
		}
	}
	return true
}

// answerable tells whether records can have the type. The others are for
// transfers, transactions, and for "all" (RFC 6895, section 3.1). Of these, ANY
// has an answer of its own.
func answerable(qtype uint16) bool {
	switch {
	case qtype == dns.TypeANY:
		return true
	case qtype == dns.TypeNone, qtype == dns.TypeOPT, qtype == dns.TypeReserved:
		return false
	}
	return qtype < 128 || qtype > 255
}

func (q *query) key() key {
	asked := q.question[0]
	return key{name: dns.CanonicalName(asked.Name), qtype: asked.Qtype, do: q.do, cd: q.cd}
}
