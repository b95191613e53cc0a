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
	changed *sync.Cond // session or closed has changed
	session link.Link  // nil if there is none
	failed  error      // why session can no longer be used
	ended   chan struct{}
	closed  bool
}

// New returns a Link with nothing inside. It counts what it drops under this reason.
func New(drops *link.Drops, reason link.Reason) *Link {
	s := &Link{drops: drops, reason: reason}
	s.changed = sync.NewCond(&s.mu)
	return s
}

// Use makes session the inner Link, until session fails or ctx ends. It closes the session,
// and returns why it has ended, or nil if ctx has.
func (s *Link) Use(ctx context.Context, session link.Link) error {
	ended := make(chan struct{})
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		session.Close()
		return net.ErrClosed
	}
	s.session, s.failed, s.ended = session, nil, ended
	s.changed.Broadcast()
	s.mu.Unlock()

	select {
	case <-ctx.Done():
	case <-ended:
	}
	s.mu.Lock()
	err := s.failed
	s.session = nil
	s.mu.Unlock()
	session.Close()
	return err
}

// fail records that a session can no longer be used.
func (s *Link) fail(session link.Link, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session == session {
		s.session, s.failed = nil, err
		close(s.ended)
	}
}

// ReadBurst waits for a session, if there is none.
func (s *Link) ReadBurst(b *link.Burst) error {
	for {
		session, err := s.wait()
		if err != nil {
			return err
		}
		if err = session.ReadBurst(b); err == nil {
			return nil
		}
		s.fail(session, err)
	}
}

// wait waits until there is a session, and returns it.
func (s *Link) wait() (link.Link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.session == nil && !s.closed {
		s.changed.Wait()
	}
	if s.closed {
		return nil, net.ErrClosed
	}
	return s.session, nil
}

// WriteBurst drops the packets if there is no session.
func (s *Link) WriteBurst(b *link.Burst) error {
	s.mu.Lock()
	session, closed := s.session, s.closed
	s.mu.Unlock()
	if closed {
		return net.ErrClosed
	}
	if session == nil {
		for range b.Len() {
			s.drops.Add(s.reason)
		}
		return nil
	}
	if err := session.WriteBurst(b); err != nil {
		s.fail(session, err)
	}
	return nil
}

// Close ends the Link, and the session in it.
func (s *Link) Close() error {
	s.mu.Lock()
	session := s.session
	s.closed = true
	s.changed.Broadcast()
	s.mu.Unlock()
	if session == nil {
		return nil
	}
	s.fail(session, errClosed)
	return session.Close()
}

var errClosed = errors.New("the tunnel has ended")
