package resolver

import (
	"errors"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// How long an answer is believed at most, whatever its TTL says. RFC 2308,
// section 5, proposes 1 to 3 hours for "there is no such thing".
const (
	maxTTL         = 24 * time.Hour
	maxNegativeTTL = time.Hour
)

// maxChain is how many aliases (CNAME) may lead to an answer.
const maxChain = 16

// An answer is what the upstream says to a question, and until when. It holds a
// packed message: so it never changes, and its size is known. It is safe for
// concurrent use.
type answer struct {
	wire   []byte // question, in lower case; rcode; answer and authority
	at     time.Time
	ttl    time.Duration // whole seconds; 0 is for who waits only
	noName bool          // the name itself does not exist, and is no alias
}

// fresh tells whether the answer is still good.
func (a *answer) fresh(now time.Time) bool { return now.Before(a.at.Add(a.ttl)) }

// message returns the answer as a message of the caller's own. Its TTLs are what
// is left of them.
func (a *answer) message(now time.Time) *dns.Msg {
	m := new(dns.Msg)
	if err := m.Unpack(a.wire); err != nil {
		return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeServerFailure}} // it was packed by us
	}
	age := uint32(min(max(now.Sub(a.at), 0), maxTTL) / time.Second)
	for _, section := range [][]dns.RR{m.Answer, m.Ns} {
		for _, rr := range section {
			rr.Header().Ttl -= min(rr.Header().Ttl, age)
		}
	}
	return m
}

// failure is the answer when nobody has one.
func failure(k key, now time.Time, ttl time.Duration) *answer {
	m := &dns.Msg{Question: []dns.Question{k.question()}}
	m.Rcode = dns.RcodeServerFailure
	wire, _ := m.Pack() // the question has come from a message
	return &answer{wire: wire, at: now, ttl: ttl}
}

func (k key) question() dns.Question {
	return dns.Question{Name: k.name, Qtype: k.qtype, Qclass: dns.ClassINET}
}

var (
	errChain    = errors.New("too long a chain of aliases")
	errReferral = errors.New("it is not recursive: it names other servers")
)

// believe takes from an upstream's message what answers the question, and
// leaves out all else. m must have rcode NOERROR or NXDOMAIN.
func believe(m *dns.Msg, k key, now time.Time) (*answer, error) {
	names, err := aliases(m.Answer, k)
	if err != nil {
		return nil, err
	}
	kept := &dns.Msg{Question: []dns.Question{k.question()}, Compress: true}
	kept.Rcode = m.Rcode
	positive := false
	for _, rr := range m.Answer {
		if answers(rr, names, k) {
			kept.Answer = append(kept.Answer, rr)
			positive = positive || rr.Header().Rrtype == k.qtype
		}
	}
	ttl := maxTTL
	if !positive || m.Rcode == dns.RcodeNameError {
		soa := authority(m.Ns, names[len(names)-1])
		switch {
		case soa != nil:
			// RFC 2308, section 5.
			soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl)
			ttl = maxNegativeTTL
			kept.Ns = append(kept.Ns, soa)
		case len(kept.Answer) == 0 && m.Rcode == dns.RcodeSuccess && slices.ContainsFunc(m.Ns, isNS):
			return nil, errReferral
		default:
			ttl = 0 // nobody knows how long this is true
		}
	}
	if k.do {
		kept.Ns = append(kept.Ns, proofs(m.Ns)...)
	}
	return seal(kept, now, ttl)
}

// seal makes an answer of what was kept. All of it is as good as its record
// with the shortest TTL, and ttl at most.
func seal(kept *dns.Msg, now time.Time, ttl time.Duration) (*answer, error) {
	for _, section := range [][]dns.RR{kept.Answer, kept.Ns} {
		for _, rr := range section {
			h := rr.Header()
			if h.Ttl > 1<<31-1 {
				h.Ttl = 0 // RFC 2181, section 8
			}
			h.Ttl = min(h.Ttl, uint32(maxTTL/time.Second))
			ttl = min(ttl, time.Duration(h.Ttl)*time.Second)
			if h.Name != kept.Question[0].Name && dns.CanonicalName(h.Name) == kept.Question[0].Name {
				h.Name = kept.Question[0].Name // so that reply finds it
			}
		}
	}
	for _, rr := range kept.Ns {
		// Clients must not remember it longer than we do.
		rr.Header().Ttl = min(rr.Header().Ttl, uint32(max(ttl, 0)/time.Second))
	}
	wire, err := kept.Pack()
	if err != nil {
		return nil, err
	}
	if len(wire) > dns.MaxMsgSize { // the upstream could make it shorter than we can
		return nil, errTooLong
	}
	return &answer{
		wire: wire, at: now, ttl: ttl,
		noName: kept.Rcode == dns.RcodeNameError && len(kept.Answer) == 0,
	}, nil
}

// aliases returns the name of the question and those that it is an alias of, in
// lower case.
func aliases(rrs []dns.RR, k key) ([]string, error) {
	names := []string{k.name}
	if k.qtype == dns.TypeCNAME {
		return names, nil
	}
	next := make(map[string]string)
	for _, rr := range rrs {
		if c, ok := rr.(*dns.CNAME); ok && c.Hdr.Class == dns.ClassINET {
			next[dns.CanonicalName(c.Hdr.Name)] = dns.CanonicalName(c.Target)
		}
	}
	for {
		target, ok := next[names[len(names)-1]]
		if !ok {
			return names, nil
		}
		if names = append(names, target); len(names) > maxChain {
			return nil, errChain // or a circle
		}
	}
}

// answers tells whether a record of the answer section is about one of the
// names and of a type that was asked for or that leads there.
func answers(rr dns.RR, names []string, k key) bool {
	h := rr.Header()
	if h.Class != dns.ClassINET {
		return false
	}
	covers := h.Rrtype
	if sig, ok := rr.(*dns.RRSIG); ok && k.qtype != dns.TypeRRSIG {
		if !k.do {
			return false
		}
		covers = sig.TypeCovered
	}
	owner := dns.CanonicalName(h.Name)
	switch covers {
	case k.qtype, dns.TypeCNAME:
		return slices.Contains(names, owner)
	case dns.TypeDNAME: // an alias for all below it (RFC 6672)
		return slices.ContainsFunc(names, func(name string) bool { return dns.IsSubDomain(owner, name) })
	}
	return false
}
