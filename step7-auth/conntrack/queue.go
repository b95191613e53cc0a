package conntrack

import (
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
)

// A Queue forgets beside whoever asks for it: to look through 150,000 connections takes
// most of a second, in which a server would let nobody in. What comes while it looks is
// looked for together, the next time. So there is one goroutine at most, and an address
// waits once. Its methods may be called from any goroutine.
type Queue struct {
	forget func([]netip.Addr) error

	mu      sync.Mutex // guards all below
	waiting map[netip.Addr]bool
	running chan struct{} // closed when the goroutine has ended; nil if there is none
}

// Beside returns a Queue for forget, such as Forget.
func Beside(forget func([]netip.Addr) error) *Queue {
	return &Queue{forget: forget, waiting: make(map[netip.Addr]bool)}
}

// Forget has the connections of clients that have gone forgotten soon. The log has what
// goes wrong; the error is nil.
func (q *Queue) Forget(clients []netip.Addr) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, a := range clients {
		q.waiting[a] = true
	}
	if q.running == nil && len(q.waiting) > 0 {
		q.running = make(chan struct{})
		go q.run(q.running)
	}
	return nil
}

func (q *Queue) run(ended chan struct{}) {
	defer close(ended)
	for {
		q.mu.Lock()
		list := slices.Collect(maps.Keys(q.waiting))
		clear(q.waiting)
		if len(list) == 0 {
			q.running = nil
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		if err := q.forget(list); err != nil {
			slog.Warn("a client has left something behind", "error", err)
		}
	}
}

// Close returns when nothing is being forgotten any more.
func (q *Queue) Close() error {
	q.mu.Lock()
	running := q.running
	q.mu.Unlock()
	if running != nil {
		<-running
	}
	return nil
}
