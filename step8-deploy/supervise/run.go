package supervise

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step8-deploy/config"
)

// Run keeps the client connected until ctx ends, which is no error.
func (s *Supervisor) Run(ctx context.Context) error {
	defer s.set(func(st *Status) {
		st.failed(nil)
		st.State, st.Next = Stopped, time.Time{}
	})
	s.rounds(ctx)
	return nil
}

// rounds does one round after another until ctx ends, with a wait after each: backoff says how
// long, by how many rounds have failed since a connection was up for stableAfter, and
// untilAllowed whether it must be longer. If something on this host has changed, ending the
// round (see interrupted) or cutting the wait short, then no failure counts; in the former
// case the wait is only what untilAllowed asks for. Wake-ups from before a round are dropped.
//
//exercise:1
func (s *Supervisor) rounds(ctx context.Context) {
	failures := 0 // rounds since the last good connection
	for ctx.Err() == nil {
		began := time.Now()
		s.drain()
		up, err := s.round(ctx)
		if ctx.Err() != nil {
			return
		}
		if up >= stableAfter {
			failures = 0
		}
		wait := s.untilAllowed(backoff(failures))
		failures++
		if interrupted(err) {
			wait = s.untilAllowed(0)
			failures = 0
		}
		if s.wait(ctx, wait, began, err) {
			failures = 0
		}
	}
}

// backoff returns how long to wait after a failure that this many others came before, 0 or
// more: minWait, twice as long each time, and maxWait at most, each 20 % more or less, at
// random.
//
//exercise:1
func backoff(failures int) time.Duration {
	d := min(minWait<<min(failures, 10), maxWait)
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// drain discards a wake-up from before the round that begins now.
func (s *Supervisor) drain() {
	select {
	case <-s.wake:
	default:
	}
}

// untilAllowed returns wait, or longer if every server has refused.
func (s *Supervisor) untilAllowed(wait time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	least := time.Duration(-1)
	for _, e := range s.cfg.Servers {
		left := max(0, time.Until(s.refused[e.String()]))
		if least < 0 || left < least {
			least = left
		}
	}
	return max(wait, least)
}

// wait waits after a round that ended with why, and returns true if a change of this host has
// cut the wait short.
func (s *Supervisor) wait(ctx context.Context, d time.Duration, began time.Time, why error) (changed bool) {
	s.set(func(st *Status) {
		if why != nil { // nil if no server was asked, because all had refused
			st.failed(why)
		}
		st.State, st.Next = Waiting, time.Now().Add(max(d, minGap-time.Since(began)))
	})
	timer := time.NewTimer(d)
	defer timer.Stop()
	for waiting := true; waiting; {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			waiting = false
		case <-s.wake:
			// A change does not matter to servers that have refused.
			waiting = s.untilAllowed(0) > 0
			changed = !waiting
		}
	}
	select {
	case <-ctx.Done():
	case <-time.After(minGap - time.Since(began)):
	}
	return changed
}

// round asks the servers until one connects, and returns when that connection is lost, with
// the time that it was up. If none connects, it returns when all have been asked.
func (s *Supervisor) round(ctx context.Context) (up time.Duration, err error) {
	for _, e := range s.order() {
		if s.isRefused(e) {
			continue
		}
		s.set(func(st *Status) {
			st.State, st.Server, st.Addr, st.Next = Connecting, e, netip.AddrPort{}, time.Time{}
		})
		up, err = s.server(ctx, e)
		if up == 0 { // otherwise the next change of state reports it
			s.set(func(st *Status) { st.failed(err) })
		}
		if roundOver(ctx, up, err) {
			break
		}
	}
	return up, err
}

// roundOver reports whether a round is over after this outcome of a try.
func roundOver(ctx context.Context, up time.Duration, err error) bool {
	return up > 0 || ctx.Err() != nil || interrupted(err)
}

// interrupted reports whether a session has ended because something on this host has
// changed.
func interrupted(err error) bool { return errors.Is(err, errNetwork) || errors.Is(err, errClock) }

// order returns the servers in the order of a round.
func (s *Supervisor) order() []config.Endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Clone(s.cfg.Servers)
	if i := slices.Index(list, s.lastServer); i > 0 {
		list = slices.Insert(slices.Delete(list, i, i+1), 0, s.lastServer)
	}
	return list
}

// isRefused reports whether the server has refused this client less than 5 minutes ago.
func (s *Supervisor) isRefused(e config.Endpoint) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.refused[e.String()])
}

// server asks the addresses of one server. If it connects to one of them, it returns when
// that connection is lost.
func (s *Supervisor) server(ctx context.Context, e config.Endpoint) (up time.Duration, err error) {
	addrs, err := s.addresses(ctx, e)
	if err != nil {
		return 0, err
	}
	for _, a := range addrs {
		up, err = s.connect(ctx, e, netip.AddrPortFrom(a, e.Port))
		if isRefused(err) {
			s.mu.Lock()
			s.refused[e.String()] = time.Now().Add(time.Duration(float64(refusedWait) * (0.8 + 0.4*rand.Float64())))
			s.mu.Unlock()
		}
		if isRefused(err) || roundOver(ctx, up, err) {
			break
		}
	}
	return up, err
}

// addresses returns the addresses of a server, in the order in which to ask them.
func (s *Supervisor) addresses(ctx context.Context, e config.Endpoint) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(e.Host); err == nil {
		return []netip.Addr{a}, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.Try, s.cfg.Silence)
	defer cancel()
	addrs, err := s.cfg.Resolve(ctx, e.Host)
	if err == nil && len(addrs) == 0 {
		err = errors.New("it has no address")
	}
	if err != nil {
		err = fmt.Errorf("looking up %s: %w", e.Host, err)
		if app.HintOf(err) != "" {
			return nil, err
		}
		return nil, app.Hint(err,
			"Check the name in the setting 'server', and the nameservers of this host's own network.")
	}
	return interleave(addrs), nil
}

// maxAddresses is the largest number of addresses of one name that are asked.
const maxAddresses = 8

// interleave orders addresses so that the families alternate, IPv6 first.
func interleave(addrs []netip.Addr) []netip.Addr {
	var v6, v4, list []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); a.Is6() {
			v6 = append(v6, a)
		} else {
			v4 = append(v4, a)
		}
	}
	for i := range max(len(v6), len(v4)) {
		list = append(list, v6[min(i, len(v6)):min(i+1, len(v6))]...)
		list = append(list, v4[min(i, len(v4)):min(i+1, len(v4))]...)
	}
	return list[:min(len(list), maxAddresses)]
}

// connect asks one address. If it connects, connect returns when the connection
// is lost, with the time that it was up, which is more than 0.
func (s *Supervisor) connect(ctx context.Context, e config.Endpoint, addr netip.AddrPort) (up time.Duration, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	under := &attempt{server: addr, cancel: cancel}
	if s.cfg.Route != nil {
		if under.route, err = s.cfg.Route(addr); err != nil {
			return 0, app.Hint(fmt.Errorf("no way to %v: %w", addr, err),
				"Connect this host to a network; then the client tries again at once.")
		}
	}
	s.mu.Lock()
	s.attempt = under
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.attempt = nil
		s.mu.Unlock()
	}()

	s.set(func(st *Status) { st.Addr = addr })
	impatient := time.AfterFunc(s.cfg.Try, func() { cancel(s.cfg.Silence) })
	defer impatient.Stop()
	var since time.Time
	err = s.cfg.Connect(ctx, addr, func() {
		impatient.Stop()
		since = time.Now()
		s.mu.Lock()
		s.lastServer = e
		under.up = true
		s.mu.Unlock()
		s.set(func(st *Status) {
			st.failed(nil)
			st.Session = since
			if !s.cfg.Judged {
				st.State = Up
			}
		})
	})
	if !since.IsZero() {
		up = max(1, time.Since(since))
	}
	if cause := context.Cause(ctx); cause != nil && !(cause == s.cfg.Silence && errors.Is(err, secure.ErrUnread)) {
		err = cause
	}
	if err == nil {
		err = errors.New("the connection has ended")
	}
	return up, fmt.Errorf("%v: %w", addr, err)
}
