package resolver

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Which upstream is asked, in which order, and when one is taken for dead.

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
	retry    time.Time  // when a dead one is tried again, and when the log may say that it is dead again
	news     bool       // the log says so still
}

// alive tells whether the upstream should be asked before those that are dead. A dead one is tried
// again once per down: alive then tells one question, and only that one, to ask it in its usual place.
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

// heard notes how a question went. An upstream that has too much to do comes and goes: a flood must not fill the log.
func (u *upstream) heard(err error, now time.Time, down time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.failures++; err == nil {
		u.failures = 0
	}
	switch {
	case err == nil && u.news:
		u.news = false
		slog.Info("resolver: upstream answers again", "upstream", u.addr, "over", u.network)
	case u.failures == downAfter && !now.Before(u.retry):
		u.news, u.retry = true, now.Add(down)
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
	// s.upstreams has each resolver twice, by UDP and by TCP, so half of it is a round. Three rounds are planned (see
	// rounds). Each is more patient than the one before, so l.total may end within the third; there is always time for
	// the first two, as a network may let only TCP through.
	each := len(s.upstreams) / 2
	patience := min(l.try, l.total/time.Duration(3*each))
	useless := make(map[netip.AddrPort]bool)
	for i, u := range slices.Concat(alive, s.upstreams[:each], dead) {
		if useless[u.addr] || ctx.Err() != nil {
			continue
		}
		found, err := s.exchange(ctx, u, k, patience*time.Duration(2+i/each)/2)
		if err == nil {
			return found
		}
		useless[u.addr] = errors.Is(err, errUseless)
		// The name is nobody's business, so logs never have it.
		slog.Debug("resolver: no answer", "type", dns.Type(k.qtype), "upstream", u.addr, "over", u.network, "error", err)
	}
	s.count(failures)
	wire, _ := failed(dns.RcodeServerFailure).Pack()
	return &answer{wire: wire, at: s.now(), ttl: l.failure}
}
