package pool

import (
	"fmt"
	"log/slog"
	"time"

	"stepvpn/shared/atomicfile"
)

// A store writes the leases to the state file whenever they have changed, so that they
// survive the server. A nil store keeps nothing.
type store struct {
	file     *atomicfile.Locked
	snapshot func() state
	failed   bool // to save them last

	dirty   chan struct{} // holds one element when there is something to save
	closing chan struct{}
	stopped chan struct{}
}

// When the leases are saved: at the start, which shows early that it works; when
// a client has got an address that it did not have before, or lost one; and at
// the end. A client that comes and goes and keeps its address costs no writing.
//
// A change is saved at once, but not more often than this. So a crash can lose
// the leases of new clients from the second before it. Such a client gets another
// address when it comes back.
const saveEvery = time.Second

// saveRetry is how long to wait after the leases could not be saved.
const saveRetry = 10 * time.Second

// keep saves the leases, and from then on whenever they have changed. It owns
// file.
func keep(file *atomicfile.Locked, snapshot func() state) *store {
	s := &store{
		file:     file,
		snapshot: snapshot,
		dirty:    make(chan struct{}, 1),
		closing:  make(chan struct{}),
		stopped:  make(chan struct{}),
	}
	s.save()
	go s.run()
	return s
}

// changed asks for the leases to be saved. It does not wait.
func (s *store) changed() {
	if s == nil {
		return
	}
	select {
	case s.dirty <- struct{}{}:
	default: // it is asked for already
	}
}

// save saves them, and says so when that begins to fail, and when it works again: on a
// full disk a server goes on with what it has.
func (s *store) save() {
	err := s.file.Write([]byte(s.snapshot().String()))
	switch {
	case err != nil && !s.failed:
		slog.Warn("the leases can't be saved, trying on; clients may get other addresses after a restart", "error", err)
	case err == nil && s.failed:
		slog.Info("the leases are saved again", "file", s.file.Name())
	}
	s.failed = err != nil
	if s.failed {
		s.changed()
	}
}

func (s *store) run() {
	defer close(s.stopped)
	for {
		select {
		case <-s.closing:
			return
		case <-s.dirty:
		}
		s.save()
		wait := saveEvery
		if s.failed {
			wait = saveRetry
		}
		select {
		case <-s.closing:
			return
		case <-time.After(wait):
		}
	}
}

// close saves the leases a last time. It may be called once.
func (s *store) close() error {
	if s == nil {
		return nil
	}
	close(s.closing)
	<-s.stopped
	err := s.file.Write([]byte(s.snapshot().String()))
	s.file.Close()
	if err != nil {
		return fmt.Errorf("saving the leases: %w", err)
	}
	return nil
}
