// Package beside does slow work in the background, for callers that must not wait, such as a
// server that handles packets or handshakes meanwhile. Introduced in step 8.
package beside

import (
	"sync"
	"time"
)

// A Queue passes on what is put into it. Values that are put in meanwhile are passed on
// together, the next time: so there is at most one goroutine, and only the latest value of
// each key waits. Its methods are safe for concurrent use.
type Queue[K comparable, V any] struct {
	hand  func(map[K]V)
	pause time.Duration

	mu      sync.Mutex // guards all below
	waiting map[K]V
	running chan struct{} // closed when the goroutine has ended; nil if there is none
	closed  bool
}

// New returns a Queue that passes values to hand, which may keep the map. It waits for pause
// between two calls of hand.
func New[K comparable, V any](pause time.Duration, hand func(map[K]V)) *Queue[K, V] {
	return &Queue[K, V]{hand: hand, pause: pause, waiting: make(map[K]V)}
}

// Put puts in a value for each of the keys, which is passed on soon. Put does not wait for
// that. After Close, it does nothing.
func (q *Queue[K, V]) Put(value V, keys ...K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	for _, k := range keys {
		q.waiting[k] = value
	}
	if q.running == nil && len(q.waiting) > 0 {
		q.running = make(chan struct{})
		go q.run(q.running)
	}
}

// run passes values on until there are no more.
func (q *Queue[K, V]) run(ended chan struct{}) {
	defer close(ended)
	for {
		q.mu.Lock()
		list := q.waiting
		if len(list) == 0 {
			q.running = nil
			q.mu.Unlock()
			return
		}
		q.waiting = make(map[K]V)
		q.mu.Unlock()
		q.hand(list)
		time.Sleep(q.pause)
	}
}

// Close returns when everything that was put into the Queue has been passed on. The error is
// nil.
func (q *Queue[K, V]) Close() error {
	q.mu.Lock()
	q.closed = true
	running := q.running
	q.mu.Unlock()
	if running != nil {
		<-running
	}
	return nil
}
