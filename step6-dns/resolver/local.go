package resolver

import (
	"net"

	"github.com/miekg/dns"
)

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
		if !dns.IsSubDomain(name, k.name) {
			continue
		}
		switch {
		case name == "localhost." && k.qtype == dns.TypeA:
			return &dns.Msg{Answer: []dns.RR{&dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)}}}
		case name == "localhost." && k.qtype == dns.TypeAAAA:
			return &dns.Msg{Answer: []dns.RR{&dns.AAAA{Hdr: header, AAAA: net.IPv6loopback}}}
		}
		m := failed(rcode)
		header.Name, header.Rrtype = name, dns.TypeSOA
		m.Ns = []dns.RR{&dns.SOA{Hdr: header, Ns: "localhost.", Mbox: "nobody.invalid.",
			Serial: 1, Refresh: ttl, Retry: ttl, Expire: ttl, Minttl: ttl}}
		return m
	}
	return nil
}
