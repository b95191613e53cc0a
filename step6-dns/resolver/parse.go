package resolver

import (
	"net"
	"slices"

	"github.com/miekg/dns"
)

// What can be said of a message without asking anybody: that it is malformed, that it is refused, or that its answer is
// known here.

const headerSize = 12 // of a DNS message, in bytes

// parse reads a message. q is the message itself, and k its question. If what is accepted, the answer is in the cache or
// upstream. Otherwise what says how the message is counted, and reply is what it gets: nil means nothing at all.
func parse(message []byte) (q *dns.Msg, k key, what counter, reply *dns.Msg) {
	q = new(dns.Msg)
	err := q.Unpack(message)
	switch {
	case len(message) < headerSize:
		return q, k, malformed, nil
	case q.Response: // replies to responses could go round in circles
		return q, k, notQuery, nil
	case err != nil, len(message) > maxQuery:
		return q, k, malformed, failed(dns.RcodeFormatError)
	}
	if why, rcode := refusal(q); why != accepted {
		return q, k, why, failed(rcode)
	}
	opt := q.IsEdns0()
	k = key{dns.CanonicalName(q.Question[0].Name), q.Question[0].Qtype, opt != nil && opt.Do(), q.CheckingDisabled}
	if m := local(k); m != nil {
		return q, k, fromHere, m
	}
	return q, k, accepted, nil
}

// refusal says why a query is refused, and by which rcode.
func refusal(q *dns.Msg) (why counter, rcode int) {
	isOPT := func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeOPT }
	opt := slices.IndexFunc(q.Extra, isOPT)
	switch {
	case q.Opcode != dns.OpcodeQuery:
		return notSupported, dns.RcodeNotImplemented
	case len(q.Question) != 1, opt >= 0 && slices.ContainsFunc(q.Extra[opt+1:], isOPT):
		return malformed, dns.RcodeFormatError
	case opt >= 0 && q.IsEdns0().Version() > 0:
		return badVersion, dns.RcodeBadVers
	case q.Question[0].Qclass != dns.ClassINET:
		return badClass, dns.RcodeRefused
	case !answerable(q.Question[0].Qtype):
		return badType, dns.RcodeRefused
	case len(q.Answer) > 0, len(q.Ns) > 0:
		return malformed, dns.RcodeFormatError
	case !q.RecursionDesired:
		return notRecursive, dns.RcodeRefused
	}
	return accepted, dns.RcodeSuccess
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
