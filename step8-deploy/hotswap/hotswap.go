// Package hotswap provides a Link whose inner Link can be exchanged, for the ends of a
// client's tunnel that come and go: the session, as the client reconnects, and the device,
// which somebody may delete. The tunnel between two of them runs on, and does not notice.
// Introduced in step 8.
//
// While there is no inner Link, packets that are written are dropped and counted. So no old
// packets wait in a queue when the next inner Link begins.
package hotswap

import (
	"context"
	"errors"
	"net"
	"sync"

	"stepvpn/shared/link"
)

// A Link is a link.Link. Use may be called by one goroutine at a time, besides the ones that
// read and write.
type Link struct {
	drops  *link.Drops
	reason link.Reason

	mu      sync.Mutex // guards all below
	changed *sync.Cond // inner or closed has changed
	inner   link.Link  // nil if there is none
	failed  error      // why inner can no longer be used
	ended   chan struct{}
	closed  bool
}

// New returns a Link with nothing inside. It counts what it drops under this reason.
func New(drops *link.Drops, reason link.Reason) *Link {
	s := &Link{drops: drops, reason: reason}
	s.changed = sync.NewCond(&s.mu)
	return s
}

// Use makes inner the inner Link, until inner fails or ctx ends. Then there is none; Use closes
// inner, and returns why it has failed, or nil if ctx has ended. If the Link is closed, Use
// closes inner at once, and returns net.ErrClosed.
//
//exercise:2
func (s *Link) Use(ctx context.Context, inner link.Link) error {
	ended := make(chan struct{})
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		inner.Close()
		return net.ErrClosed
	}
	s.inner, s.failed, s.ended = inner, nil, ended
	s.changed.Broadcast()
	s.mu.Unlock()

	select {
	case <-ctx.Done():
	case <-ended:
	}
	s.mu.Lock()
	err := s.failed
	s.inner = nil
	s.mu.Unlock()
	inner.Close()
	return err
}

// fail records that inner can no longer be used, which ends its Use. It ignores what an earlier
// one says: reads and writes of that may come back late.
//
//exercise:2
func (s *Link) fail(inner link.Link, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inner == inner {
		s.inner, s.failed = nil, err
		close(s.ended)
	}
}

// ReadBurst waits for an inner Link, if there is none, and again if that fails. It holds no
// lock while the inner Link reads. Its only error is net.ErrClosed, once the Link is closed.
//
//exercise:2
func (s *Link) ReadBurst(b *link.Burst) error {
	for {
		inner, err := s.wait()
		if err != nil {
			return err
		}
		if err = inner.ReadBurst(b); err == nil {
			return nil
		}
		s.fail(inner, err)
	}
}

// wait waits until there is an inner Link, and returns it.
func (s *Link) wait() (link.Link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.inner == nil && !s.closed {
		s.changed.Wait()
	}
	if s.closed {
		return nil, net.ErrClosed
	}
	return s.inner, nil
}

// WriteBurst drops the packets if there is no inner Link, and counts each. It holds no lock
// while the inner Link writes. Its only error is net.ErrClosed, once the Link is closed.
//
//exercise:2
func (s *Link) WriteBurst(b *link.Burst) error {
	s.mu.Lock()
	inner, closed := s.inner, s.closed
	s.mu.Unlock()
	if closed {
		return net.ErrClosed
	}
	if inner == nil {
		for range b.Len() {
			s.drops.Add(s.reason)
		}
		return nil
	}
	if err := inner.WriteBurst(b); err != nil {
		s.fail(inner, err)
	}
	return nil
}

// Close ends the Link, and the inner Link.
func (s *Link) Close() error {
	s.mu.Lock()
	inner := s.inner
	s.closed = true
	s.changed.Broadcast()
	s.mu.Unlock()
	if inner == nil {
		return nil
	}
	s.fail(inner, errClosed)
	return inner.Close()
}

var errClosed = errors.New("the tunnel has ended")
