package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	downAfter = 3 // questions in a row without an answer, until an upstream is taken for dead: one may just be hard to answer
	rounds    = 3 // how often a resolver is tried, as a datagram can get lost: over UDP, over TCP, and over UDP again
)

// An upstream is a resolver, and a way to ask it. It is safe for concurrent use.
type upstream struct {
	addr    netip.AddrPort
	network string // "udp" or "tcp"

	mu       sync.Mutex // guards all below
	failures int        // in a row
	retry    time.Time  // when a dead one is tried again
	told     time.Time  // when the log last said that it is dead
	news     bool       // the log says so still
}

// alive tells whether the upstream should be asked before those that are dead. Of a dead one it says so again and again,
// but to one question at a time.
func (u *upstream) alive(now time.Time, down time.Duration) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.failures >= downAfter {
		if now.Before(u.retry) {
			return false
		}
		u.retry = now.Add(down)
	}
	return true
}

func (u *upstream) answered() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.news {
		u.news = false
		slog.Info("resolver: upstream answers again", "upstream", u.addr, "over", u.network)
	}
	u.failures = 0
}

func (u *upstream) failed(now time.Time, down time.Duration, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.failures++; u.failures != downAfter {
		return
	}
	u.retry = now.Add(down)
	if now.Sub(u.told) >= down { // one that has too much to do comes and goes: a flood must not fill the log
		u.told, u.news = now, true
		slog.Warn("resolver: upstream does not answer", "upstream", u.addr, "over", u.network, "error", err)
	}
}

// ask asks one upstream after the other until there is an answer: in their order, but those that are dead last. If there
// is none in time, the answer is SERVFAIL.
func (s *Server) ask(k key) *answer {
	l := s.cfg.limits
	ctx, cancel := context.WithTimeout(s.ctx, l.total)
	defer cancel()
	var alive, dead []*upstream
	for _, u := range s.upstreams {
		if u.alive(s.now(), l.down) {
			alive = append(alive, u)
		} else {
			dead = append(dead, u)
		}
	}
	// The list has each resolver twice, so half of it is a round. Each round is more patient than the one before, and
	// there is time for two: a network may let only TCP through.
	each := len(s.upstreams) / 2
	patience := min(l.try, l.total/time.Duration(3*each))
	useless := make(map[netip.AddrPort]bool)
	for i, u := range slices.Concat(alive, s.upstreams[:each], dead) {
		if useless[u.addr] || ctx.Err() != nil {
			continue
		}
		found, err := s.askOne(ctx, u, k, patience*time.Duration(2+i/each)/2)
		if err == nil {
			return found
		}
		useless[u.addr] = errors.Is(err, errUseless)
		// The name is nobody's business, so logs never have it.
		slog.Debug("resolver: no answer", "type", dns.Type(k.qtype), "upstream", u.addr, "over", u.network, "error", err)
	}
	s.counts.failed.Add(1)
	wire, _ := failed(dns.RcodeServerFailure).Pack()
	return &answer{wire: wire, at: s.now(), ttl: l.failure}
}

// errUseless is the error of an upstream that is alive and does not help. To ask it again would not either.
var errUseless = errors.New("useless answer")

// askOne asks one upstream, and remembers how that went.
func (s *Server) askOne(ctx context.Context, u *upstream, k key, patience time.Duration) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	m, err := s.exchange(ctx, u.network, u.addr, k)
	if err != nil {
		if s.ctx.Err() == nil {
			u.failed(s.now(), s.cfg.limits.down, err)
		}
		return nil, err
	}
	u.answered()
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return nil, fmt.Errorf("%w: %s", errUseless, dns.RcodeToString[m.Rcode])
	}
	found, err := believe(m, k, s.now())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUseless, err)
	}
	return found, nil
}
