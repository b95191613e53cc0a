package resolver

import (
	"net"

	"github.com/miekg/dns"
)

// refusal says why a query is refused, and by which rcode.
func refusal(q *dns.Msg) (why Reason, rcode int) {
	opts := 0
	for _, rr := range q.Extra {
		if rr.Header().Rrtype == dns.TypeOPT {
			opts++
		}
	}
	switch {
	case q.Opcode != dns.OpcodeQuery:
		return NotImplemented, dns.RcodeNotImplemented
	case len(q.Question) != 1, opts > 1:
		return Malformed, dns.RcodeFormatError
	case opts > 0 && q.IsEdns0().Version() > 0:
		return BadVersion, dns.RcodeBadVers
	case q.Question[0].Qclass != dns.ClassINET:
		return BadClass, dns.RcodeRefused
	case !answerable(q.Question[0].Qtype):
		return BadType, dns.RcodeRefused
	case len(q.Answer) > 0, len(q.Ns) > 0:
		return Malformed, dns.RcodeFormatError
	case !q.RecursionDesired:
		return NotRecursive, dns.RcodeRefused
	}
	return none, dns.RcodeSuccess
}

// answerable tells whether records can have the type, or it is ANY, which has an answer of its own. The others are for
// transfers and transactions (RFC 6895, section 3.1).
func answerable(qtype uint16) bool {
	meta := qtype == dns.TypeNone || qtype == dns.TypeOPT || qtype == dns.TypeReserved || qtype >= 128 && qtype <= 255
	return !meta || qtype == dns.TypeANY
}

// special are the names, with all below them, that no resolver on the internet should be asked for.
var special = map[string]int{
	"localhost.":     dns.RcodeSuccess,   // this host (RFC 6761, section 6.3)
	"invalid.":       dns.RcodeNameError, // never exists (RFC 6761, section 6.4)
	"onion.":         dns.RcodeNameError, // Tor, where asking gives away who is visited (RFC 7686)
	"resolver.arpa.": dns.RcodeSuccess,   // what else this resolver speaks: nothing (RFC 9462, section 6.4)
}

// local answers a question that goes nowhere. It returns nil for the others.
func local(k key) *dns.Msg {
	const ttl = 3600 // seconds; it is known for ever
	header := dns.RR_Header{Name: k.name, Rrtype: k.qtype, Class: dns.ClassINET, Ttl: ttl}
	if k.qtype == dns.TypeANY { // RFC 8482: a list of all that exists is of use to nobody but attackers
		header.Rrtype = dns.TypeHINFO
		return &dns.Msg{Answer: []dns.RR{&dns.HINFO{Hdr: header, Cpu: "RFC8482"}}}
	}
	for name, rcode := range special {
		switch {
		case !dns.IsSubDomain(name, k.name):
			continue
		case name == "localhost." && k.qtype == dns.TypeA:
			return &dns.Msg{Answer: []dns.RR{&dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)}}}
		case name == "localhost." && k.qtype == dns.TypeAAAA:
			return &dns.Msg{Answer: []dns.RR{&dns.AAAA{Hdr: header, AAAA: net.IPv6loopback}}}
		}
		header.Name, header.Rrtype = name, dns.TypeSOA
		m := failed(rcode)
		m.Ns = []dns.RR{&dns.SOA{Hdr: header, Ns: "localhost.", Mbox: "nobody.invalid.", Refresh: ttl, Retry: ttl, Expire: ttl, Minttl: ttl}}
		return m
	}
	return nil
}
