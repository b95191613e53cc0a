package resolver

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Who wants to forge an answer must guess what only the upstream has seen: the
// port that the question came from, its id, and the spelling of the name (RFC
// 5452; draft-vixie-dnsext-dns0x20). All three are random and new for each
// question. A message that gets one of them wrong is ignored, and the right one
// is waited for.

// maxWrong is how many wrong messages a question hears before it is asked over
// TCP, where nobody can guess.
const maxWrong = 16

// maxUDPAnswer is the size of the buffer for answers in bytes. We ask for maxUDP at most;
// who sends more gets asked again over TCP. A longer answer may have come in fragments, of
// which only the first has what can't be guessed: anybody could have sent the others.
const maxUDPAnswer = maxUDP + 1

// errUseTCP is why an answer by UDP is of no use.
var errUseTCP = errors.New("truncated, misspelled, or too many wrong ones")

// exchange asks one upstream. The message it returns answers the question,
// though its rcode may be any, and its records may be anything.
func (s *Server) exchange(ctx context.Context, to netip.AddrPort, k key) (*dns.Msg, error) {
	m, err := s.askBoth(ctx, to, newQuestion(k, true))
	if err == nil && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) && m.IsEdns0() == nil {
		// It does not know EDNS (RFC 6891, section 7).
		m, err = s.askBoth(ctx, to, newQuestion(k, false))
	}
	return m, err
}

// newQuestion makes the message to send.
func newQuestion(k key, edns bool) *dns.Msg {
	q := &dns.Msg{Question: []dns.Question{k.question()}}
	var id [2]byte
	rand.Read(id[:])
	q.Id = binary.BigEndian.Uint16(id[:])
	q.RecursionDesired = true
	q.CheckingDisabled = k.cd
	q.Question[0].Name = respell(k.name)
	if edns {
		q.SetEdns0(maxUDP, k.do)
	}
	return q
}

// respell chooses between upper and lower case for each letter of a name, as
// only a coin would.
func respell(name string) string {
	coins := make([]byte, len(name))
	rand.Read(coins)
	b := []byte(name)
	for i, c := range b {
		if 'a' <= c && c <= 'z' && coins[i]&1 == 1 {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// askBoth asks over UDP, and over TCP if that is of no use.
func (s *Server) askBoth(ctx context.Context, to netip.AddrPort, q *dns.Msg) (*dns.Msg, error) {
	wire, err := q.Pack()
	if err != nil {
		return nil, err
	}
	m, err := s.askUDP(ctx, to, q, wire)
	if errors.Is(err, errUseTCP) {
		return s.askTCP(ctx, to, q, wire)
	}
	return m, err
}

// dial connects to the upstream. The kernel takes a random port that is free.
// With UDP too it then lets nothing through but what the upstream sends. When
// ctx ends, so does any waiting for the connection.
func dial(ctx context.Context, network string, to netip.AddrPort) (conn net.Conn, stop func(), err error) {
	conn, err = new(net.Dialer).DialContext(ctx, network, to.String())
	if err != nil {
		return nil, nil, err
	}
	long := time.Unix(1, 0)
	unwatch := context.AfterFunc(ctx, func() { conn.SetDeadline(long) })
	return conn, func() { unwatch(); conn.Close() }, nil
}

func (s *Server) askUDP(ctx context.Context, to netip.AddrPort, q *dns.Msg, wire []byte) (*dns.Msg, error) {
	conn, stop, err := dial(ctx, "udp", to)
	if err != nil {
		return nil, err
	}
	defer stop()
	if _, err := conn.Write(wire); err != nil {
		return nil, err
	}
	buf := make([]byte, maxUDPAnswer)
	for range maxWrong {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		m := new(dns.Msg)
		err = m.Unpack(buf[:n])
		switch {
		case !belongs(m, q):
			s.counts.wrong.Add(1)
		case m.Truncated, n == len(buf), !sameSpelling(m, q):
			return nil, errUseTCP
		case err != nil:
			s.counts.wrong.Add(1)
		default:
			return m, nil
		}
	}
	return nil, errUseTCP
}

func (s *Server) askTCP(ctx context.Context, to netip.AddrPort, q *dns.Msg, wire []byte) (*dns.Msg, error) {
	conn, stop, err := dial(ctx, "tcp", to)
	if err != nil {
		return nil, err
	}
	defer stop()
	if err := writeTCP(conn, wire); err != nil {
		return nil, err
	}
	answer, err := readTCP(conn, dns.MaxMsgSize)
	if err != nil {
		return nil, err
	}
	m := new(dns.Msg)
	if err := m.Unpack(answer); err != nil {
		return nil, err
	}
	if !belongs(m, q) || m.Truncated {
		s.counts.wrong.Add(1)
		return nil, errors.New("wrong answer over TCP")
	}
	return m, nil
}

// belongs tells whether m answers q, be it spelled in another way. Who refuses
// may leave out the question.
func belongs(m, q *dns.Msg) bool {
	if !m.Response || m.Id != q.Id || m.Opcode != dns.OpcodeQuery {
		return false
	}
	if len(m.Question) == 0 {
		return refusal(m)
	}
	a, b := m.Question[0], q.Question[0]
	return len(m.Question) == 1 && a.Qtype == b.Qtype && a.Qclass == b.Qclass && strings.EqualFold(a.Name, b.Name)
}

// sameSpelling tells whether the name in m is written as in q.
func sameSpelling(m, q *dns.Msg) bool {
	return len(m.Question) == 0 || m.Question[0].Name == q.Question[0].Name
}

// refusal tells whether m says no more than that the server does not answer.
func refusal(m *dns.Msg) bool {
	switch m.Rcode {
	case dns.RcodeFormatError, dns.RcodeServerFailure, dns.RcodeNotImplemented, dns.RcodeRefused:
		return len(m.Answer) == 0 && len(m.Ns) == 0
	}
	return false
}
