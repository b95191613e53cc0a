package resolver

import (
	"errors"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// This file takes from an upstream's message only what answers the question (the name, its aliases, the proof that
// there is nothing), and says how long that is believed.

// How long an answer is believed at most, whatever its TTL says. RFC 2308, section 5, proposes 1 to 3 hours for "there
// is no such thing".
const (
	maxTTL         = 24 * time.Hour
	maxNegativeTTL = time.Hour
)

// maxChain is how many names may lead to an answer: that of the question, and aliases (CNAME).
const maxChain = 16

var errChain = errors.New("too long a chain of aliases")

// believe takes from an upstream's message what answers the question, and leaves out all else.
func believe(m *dns.Msg, k key, now time.Time) (*answer, error) {
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return nil, errors.New(dns.RcodeToString[m.Rcode])
	}
	names := []string{k.name} // and what it is an alias of
	for i := 0; i < len(names) && k.qtype != dns.TypeCNAME; i++ {
		for _, rr := range m.Answer {
			if c, ok := rr.(*dns.CNAME); ok && c.Hdr.Class == dns.ClassINET && dns.CanonicalName(c.Hdr.Name) == names[i] {
				names = append(names, dns.CanonicalName(c.Target))
				break
			}
		}
		if len(names) > maxChain {
			return nil, errChain // or a circle
		}
	}
	kept := &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: m.Rcode}, Compress: true}
	kept.Question = []dns.Question{{Name: k.name, Qtype: k.qtype, Qclass: dns.ClassINET}}
	ttl, positive := maxTTL, false
	for _, rr := range m.Answer {
		if answers(rr, names, k) {
			kept.Answer = append(kept.Answer, rr)
			positive = positive || rr.Header().Rrtype == k.qtype
		}
	}
	if !positive || m.Rcode == dns.RcodeNameError { // RFC 2308: the zone says how long that is true
		ttl = 0 // or nobody knows it
		for _, rr := range m.Ns {
			if soa, ok := rr.(*dns.SOA); ok && soa.Hdr.Class == dns.ClassINET && dns.IsSubDomain(soa.Hdr.Name, names[len(names)-1]) {
				soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl)
				kept.Ns, ttl = append(kept.Ns, soa), maxNegativeTTL
				break
			}
		}
		isNS := func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeNS }
		if ttl == 0 && len(kept.Answer) == 0 && m.Rcode == dns.RcodeSuccess && slices.ContainsFunc(m.Ns, isNS) {
			return nil, errors.New("it is not recursive: it names other servers")
		}
	}
	for _, rr := range m.Ns { // signed proofs that there is no such thing
		t, signature := about(rr)
		if k.do && (t == dns.TypeNSEC || t == dns.TypeNSEC3 || t == dns.TypeSOA && signature) {
			kept.Ns = append(kept.Ns, rr)
		}
	}
	for _, rr := range records(kept) {
		h := rr.Header()
		if h.Ttl > 1<<31-1 {
			h.Ttl = 0 // RFC 2181, section 8
		}
		h.Ttl = min(h.Ttl, uint32(maxTTL/time.Second))
		ttl = min(ttl, time.Duration(h.Ttl)*time.Second) // all is as good as the record with the shortest
	}
	for _, rr := range kept.Ns {
		rr.Header().Ttl = min(rr.Header().Ttl, uint32(ttl/time.Second)) // clients keep it no longer than we do
	}
	wire, err := kept.Pack()
	if err == nil && len(wire) > dns.MaxMsgSize {
		err = errors.New("message too long") // the upstream could make it shorter than we can
	}
	noName := m.Rcode == dns.RcodeNameError && len(kept.Answer) == 0
	return &answer{wire: wire, at: now, ttl: ttl, noName: noName}, err
}

// answers tells whether a record of the answer section is about one of the names, and of a type that was asked for or
// that leads there.
func answers(rr dns.RR, names []string, k key) bool {
	t, signature := about(rr)
	if k.qtype == dns.TypeRRSIG {
		t, signature = rr.Header().Rrtype, false
	}
	owner := dns.CanonicalName(rr.Header().Name)
	switch {
	case rr.Header().Class != dns.ClassINET, signature && !k.do:
		return false
	case t == dns.TypeDNAME: // an alias for all below it (RFC 6672)
		return slices.ContainsFunc(names, func(name string) bool { return dns.IsSubDomain(owner, name) })
	}
	return slices.Contains(names, owner) && (t == k.qtype || t == dns.TypeCNAME)
}

// about returns the type of a record, or the type that it signs.
func about(rr dns.RR) (rrtype uint16, signature bool) {
	if sig, ok := rr.(*dns.RRSIG); ok {
		return sig.TypeCovered, true
	}
	return rr.Header().Rrtype, false
}
