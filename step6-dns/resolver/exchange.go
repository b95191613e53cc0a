package resolver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// This file asks one upstream one question, over UDP or TCP. Port, id and spelling are random, so that somebody who
// does not see the question can hardly guess an answer that is accepted.

// Somebody who wants to forge an answer must guess what only the upstream has seen: the port that the question came
// from, its id, and the spelling of the name (RFC 5452; draft-vixie-dnsext-dns0x20). All three are random and new for
// each question. A message that gets one of them wrong is ignored, and the right one is waited for; after maxWrong of
// them the question goes over TCP, where nobody can guess.
const maxWrong = 16

var errWrong = errors.New("wrong answer over TCP")

// errUseless is the error of an upstream that is alive and does not help. To ask it again would not either.
var errUseless = errors.New("useless answer")

// exchange asks one upstream, and remembers how that went.
func (s *Server) exchange(ctx context.Context, u *upstream, k key, patience time.Duration) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	q := new(dns.Msg).SetQuestion(respell(k.name), k.qtype)
	q.CheckingDisabled = k.cd
	m, err := s.send(ctx, u.network, u.addr, q.SetEdns0(maxUDP, k.do))
	if err == nil && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) && m.IsEdns0() == nil {
		q.Id, q.Extra = dns.Id(), nil // it does not know EDNS (RFC 6891, section 7)
		m, err = s.send(ctx, u.network, u.addr, q)
	}
	if s.ctx.Err() == nil {
		u.heard(err, s.now(), s.cfg.limits.down)
	}
	if err != nil {
		return nil, err
	}
	found, err := believe(m, k, s.now())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUseless, err)
	}
	return found, nil
}

// respell chooses between upper and lower case for each letter of a name, as only a coin would: the bit 0x20.
func respell(name string) string {
	b, coins := []byte(name), make([]byte, len(name))
	rand.Read(coins)
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] -= coins[i] & 0x20
		}
	}
	return string(b)
}

// send sends a question from a random port, which the kernel chooses and lets only the upstream's messages through to,
// and waits for the answer until ctx ends.
func (s *Server) send(ctx context.Context, network string, to netip.AddrPort, q *dns.Msg) (*dns.Msg, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, to.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	c := &dns.Conn{Conn: conn, UDPSize: maxUDP + 1}
	if err := c.WriteMsg(q); err != nil {
		return nil, err
	}
	udp := network == "udp"
	for range maxWrong {
		b, err := c.ReadMsgHeader(nil)
		if err != nil && !errors.Is(err, dns.ErrShortRead) {
			return nil, err
		}
		m := new(dns.Msg)
		err = m.Unpack(b)
		switch {
		case !belongs(m, q):
		case udp && (m.Truncated || len(b) > maxUDP || len(m.Question) > 0 && m.Question[0].Name != q.Question[0].Name):
			// Longer than we asked for: it may have come in fragments, of which only the first has what can't be guessed.
			return s.send(ctx, "tcp", to, q)
		case err == nil && !m.Truncated:
			return m, nil
		}
		if s.count(wrongAnswers); !udp {
			return nil, errWrong
		}
	}
	return s.send(ctx, "tcp", to, q)
}

// belongs tells whether m answers q, in whatever spelling. An upstream that refuses may leave out the question.
func belongs(m, q *dns.Msg) bool {
	if !m.Response || m.Id != q.Id || m.Opcode != dns.OpcodeQuery || len(m.Question) > 1 {
		return false
	}
	if len(m.Question) == 0 {
		return m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError
	}
	a, b := m.Question[0], q.Question[0]
	return a.Qtype == b.Qtype && a.Qclass == b.Qclass && strings.EqualFold(a.Name, b.Name)
}
