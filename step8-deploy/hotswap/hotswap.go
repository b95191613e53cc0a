// Package hotswap holds an end of a client's tunnel that comes and goes: its session, as
// the client connects again and again, and its device, which somebody may delete. It is a
// Link whose inside can be exchanged. The tunnel between two of them runs on, and does
// not notice. Introduced in step 8.
//
// While there is nothing inside, what is written is dropped and counted. So nothing old
// waits in a queue when the next one begins.
package hotswap

import (
	"context"
	"errors"
	"net"
	"sync"

	"stepvpn/shared/link"
)

// A Link is a link.Link. Use may be called by one goroutine at a time, beside those
// that read and write.
type Link struct {
	drops  *link.Drops
	reason link.Reason

	mu      sync.Mutex // guards all below
	changed *sync.Cond // session or closed has changed
	session link.Link  // nil if there is none
	failed  error      // why session is of no more use
	ended   chan struct{}
	closed  bool
}

// New returns a Link with nothing inside. What it drops counts by that reason.
func New(drops *link.Drops, reason link.Reason) *Link {
	s := &Link{drops: drops, reason: reason}
	s.changed = sync.NewCond(&s.mu)
	return s
}

// Use puts a session in, and returns why it has ended, or nil when ctx ends. It
// has closed the session then.
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

// fail notes that a session is of no more use.
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

// wait returns the session, when there is one.
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
