// Package zone is the DNS server of the lab, in demos and tests alike: it knows the names
// of lab.zone, and reports who asked for which name. It plays both the resolver that a
// network assigns (the cafe's) and a well-known public one (web's).
//
// It answers at once and from memory. It does not cache, does not ask other servers, and
// does not support DNSSEC.
package zone

import (
	_ "embed"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// MaxUDP is the size in bytes of the longest answer over UDP: one that fits into a packet
// on every network (DNS Flag Day 2020).
const MaxUDP = 1232

//go:embed lab.zone
var text string

// A key is the owner of records, in lower case, and their type.
type key struct {
	name string
	kind uint16
}

// The zone is read once, and never changed.
var (
	records = make(map[key][]dns.RR)
	names   = make(map[string]bool) // including names without records, above others
	soa     *dns.SOA
)

func init() {
	parser := dns.NewZoneParser(strings.NewReader(text), ".", "lab.zone")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		header := rr.Header()
		k := key{dns.CanonicalName(header.Name), header.Rrtype}
		records[k] = append(records[k], rr)
		names["."] = true
		for _, i := range dns.Split(k.name) {
			names[k.name[i:]] = true
		}
	}
	if err := parser.Err(); err != nil {
		panic(err)
	}
	soa = records[key{".", dns.TypeSOA}][0].(*dns.SOA)
}

// A Query is a question and where it came from.
type Query struct {
	From    string // the address, such as "198.51.100.10"
	Network string // "udp" or "tcp"
	*dns.Msg
}

// Question returns the question as text, such as "web.example. A".
func (q Query) Question() string {
	return q.Msg.Question[0].Name + " " + dns.Type(q.Msg.Question[0].Qtype).String()
}

// Answer returns the zone's answer to the query, with as many records as fit. If not all
// fit, the answer is marked as truncated.
func Answer(q Query) *dns.Msg {
	r := new(dns.Msg).SetReply(q.Msg)
	r.RecursionAvailable = true // so that dig does not warn
	room := dns.MaxMsgSize
	if q.Network == "udp" {
		room = dns.MinMsgSize
	}
	if opt := q.IsEdns0(); opt != nil {
		r.SetEdns0(MaxUDP, false)
		if q.Network == "udp" {
			room = min(max(int(opt.UDPSize()), dns.MinMsgSize), MaxUDP)
		}
		if opt.Version() != 0 {
			r.Rcode = dns.RcodeBadVers
			return r
		}
	}
	switch question := q.Msg.Question[0]; {
	case q.Opcode != dns.OpcodeQuery:
		r.Rcode = dns.RcodeNotImplemented
	case question.Qclass != dns.ClassINET:
		r.Rcode = dns.RcodeRefused
	default:
		r.Authoritative = true
		lookup(r, question)
	}
	r.Compress = true
	r.Truncate(room)
	return r
}

// lookup adds the records for the question to the answer. It follows aliases (RFC 1034,
// section 4.3.2), each of them once.
func lookup(r *dns.Msg, question dns.Question) {
	name := dns.CanonicalName(question.Name)
	for {
		if found := records[key{name, question.Qtype}]; len(found) > 0 {
			r.Answer = append(r.Answer, found...)
			return
		}
		alias := records[key{name, dns.TypeCNAME}]
		if len(alias) == 0 {
			break
		}
		if slices.Contains(r.Answer, alias[0]) {
			return // the aliases form a loop: they are the answer
		}
		r.Answer = append(r.Answer, alias[0])
		name = dns.CanonicalName(alias[0].(*dns.CNAME).Target)
	}
	if !names[name] {
		r.Rcode = dns.RcodeNameError
	}
	// A negative answer is valid for the smaller of two times (RFC 2308, section 5).
	none := dns.Copy(soa)
	none.Header().Ttl = min(soa.Hdr.Ttl, soa.Minttl)
	r.Ns = append(r.Ns, none)
}
