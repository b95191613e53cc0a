package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// downAfter is how many questions in a row an upstream must leave without an
// answer until it is taken for dead. One may just be hard to answer.
const downAfter = 3

// rounds is how often all upstreams are tried: a datagram can get lost.
const rounds = 3

// An upstream is a resolver that can be asked. It is safe for concurrent use.
type upstream struct {
	addr netip.AddrPort

	mu       sync.Mutex // guards all below
	failures int        // in a row
	retry    time.Time  // when a dead one is tried again
	told     time.Time  // when the log last said that it is dead
	news     bool       // the log says so still
}

// alive tells whether the upstream should be asked before those that are dead.
// Of a dead one it says so again and again, but to one question at a time.
func (u *upstream) alive(now time.Time, down time.Duration) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.failures < downAfter {
		return true
	}
	if now.Before(u.retry) {
		return false
	}
	u.retry = now.Add(down)
	return true
}

func (u *upstream) answered() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.news {
		u.news = false
		slog.Info("resolver: upstream answers again", "upstream", u.addr)
	}
	u.failures = 0
}

func (u *upstream) failed(now time.Time, down time.Duration, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failures++
	if u.failures == downAfter {
		u.retry = now.Add(down)
		if now.Sub(u.told) < down {
			return // one that has too much to do comes and goes: a flood must not fill the log
		}
		u.told, u.news = now, true
		slog.Warn("resolver: upstream does not answer", "upstream", u.addr, "error", err)
	}
}

// order returns all upstreams, those that are alive first.
func (s *Server) order() []*upstream {
	var alive, dead []*upstream
	for _, u := range s.upstreams {
		if u.alive(s.now(), s.cfg.limits.down) {
			alive = append(alive, u)
		} else {
			dead = append(dead, u)
		}
	}
	return append(alive, dead...)
}

// ask asks one upstream after the other until there is an answer. If none has
// one in time, the answer is SERVFAIL.
func (s *Server) ask(k key) *answer {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.limits.total)
	defer cancel()
	order := s.order()
	refused := make(map[*upstream]bool) // answered, but not the question
	for round := range rounds {
		patience := s.cfg.limits.try * time.Duration(2+round) / 2
		for _, u := range order {
			if refused[u] || ctx.Err() != nil {
				continue
			}
			found, err := s.askOne(ctx, u, k, patience)
			if err == nil {
				return found
			}
			// The name is nobody's business, so logs never have it.
			slog.Debug("resolver: no answer", "type", dns.Type(k.qtype), "upstream", u.addr, "error", err)
			refused[u] = errors.Is(err, errUseless)
		}
	}
	s.counts.failed.Add(1)
	return failure(k, s.now(), s.cfg.limits.failure)
}

// errUseless is the error of an upstream that is alive and does not help. To
// ask it again would not either.
var errUseless = errors.New("useless answer")

// askOne asks one upstream, and remembers how that went.
func (s *Server) askOne(ctx context.Context, u *upstream, k key, limit time.Duration) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	m, err := s.exchange(ctx, u.addr, k)
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
