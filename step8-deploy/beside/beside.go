// Package beside does what takes a while beside whoever asks for it, such as a server that
// has packets or handshakes to deal with meanwhile. Introduced in step 8.
package beside

import (
	"sync"
	"time"
)

// A Queue hands on what is put into it. What comes while that takes place is handed on
// together, the next time: so there is one goroutine at most, and of each key only the last
// value waits, however often it comes. Its methods may be called from any goroutine.
type Queue[K comparable, V any] struct {
	hand  func(map[K]V)
	pause time.Duration

	mu      sync.Mutex // guards all below
	waiting map[K]V
	running chan struct{} // closed when the goroutine has ended; nil if there is none
	closed  bool
}

// New returns a Queue for hand, which may keep the map. Each time it waits for the pause
// before the next.
func New[K comparable, V any](pause time.Duration, hand func(map[K]V)) *Queue[K, V] {
	return &Queue[K, V]{hand: hand, pause: pause, waiting: make(map[K]V)}
}

// Put has a value handed on soon for each of the keys. It does not wait for that. A Queue
// that is closed takes nothing more.
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

// run hands on until there is no more.
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

// Close returns when all that was put into the Queue has been handed on. The error is nil.
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
