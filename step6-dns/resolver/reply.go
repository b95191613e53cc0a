package resolver

import "github.com/miekg/dns"

// reply makes of m the bytes that answer q. m must hold rcode and records, and
// nothing that others use.
func (q *query) reply(m *dns.Msg) []byte {
	asked := q.question
	if len(m.Question) == 1 && m.Question[0].Name != asked[0].Name {
		// Some clients spell the name in a random way, and look for the same
		// in the answer.
		for _, rr := range m.Answer {
			if h := rr.Header(); h.Name == m.Question[0].Name {
				h.Name = asked[0].Name
			}
		}
	}
	m.MsgHdr = dns.MsgHdr{
		Id:                 q.id,
		Response:           true,
		Opcode:             q.opcode,
		RecursionDesired:   q.rd,
		RecursionAvailable: true,
		CheckingDisabled:   q.cd,
		Rcode:              m.Rcode,
	}
	m.Question = asked
	if q.edns {
		m.SetEdns0(maxUDP, q.do)
	}
	m.Truncate(q.size)
	b, err := m.Pack()
	if err != nil {
		// It was unpacked from a message, so it can be packed; but say something.
		m.Rcode = dns.RcodeServerFailure
		b, _ = (&dns.Msg{MsgHdr: m.MsgHdr}).Pack()
	}
	return b
}

// refuse makes a reply without records.
func (q *query) refuse(rcode int) []byte {
	return q.reply(&dns.Msg{MsgHdr: dns.MsgHdr{Rcode: rcode}})
}
