package resolver

import (
	"net"

	"github.com/miekg/dns"
)

// localTTL is that of what is known for ever, in seconds.
const localTTL = 3600

// special are the names, with all below them, that no resolver on the internet
// should be asked for.
var special = []struct {
	name  string
	rcode int
}{
	{"localhost.", dns.RcodeSuccess},     // this host (RFC 6761, section 6.3)
	{"invalid.", dns.RcodeNameError},     // never exists (RFC 6761, section 6.4)
	{"onion.", dns.RcodeNameError},       // Tor, where asking gives away who is visited (RFC 7686)
	{"resolver.arpa.", dns.RcodeSuccess}, // what else this resolver speaks: nothing (RFC 9462, section 6.4)
}

// local answers a question that goes nowhere. It returns nil for the others.
func local(k key) *dns.Msg {
	m := new(dns.Msg)
	m.Question = []dns.Question{{Name: k.name, Qtype: k.qtype, Qclass: dns.ClassINET}}
	if k.qtype == dns.TypeANY {
		// RFC 8482: a list of all that exists is of use to nobody but attackers.
		m.Answer = []dns.RR{&dns.HINFO{Hdr: header(k.name, dns.TypeHINFO), Cpu: "RFC8482"}}
		return m
	}
	for _, s := range special {
		if !dns.IsSubDomain(s.name, k.name) {
			continue
		}
		m.Rcode = s.rcode
		switch {
		case s.name == "localhost." && k.qtype == dns.TypeA:
			m.Answer = []dns.RR{&dns.A{Hdr: header(k.name, dns.TypeA), A: net.IPv4(127, 0, 0, 1)}}
		case s.name == "localhost." && k.qtype == dns.TypeAAAA:
			m.Answer = []dns.RR{&dns.AAAA{Hdr: header(k.name, dns.TypeAAAA), AAAA: net.IPv6loopback}}
		default:
			m.Ns = []dns.RR{&dns.SOA{Hdr: header(s.name, dns.TypeSOA), Ns: "localhost.", Mbox: "nobody.invalid.",
				Serial: 1, Refresh: localTTL, Retry: localTTL, Expire: localTTL, Minttl: localTTL}}
		}
		return m
	}
	return nil
}

func header(name string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: localTTL}
}
