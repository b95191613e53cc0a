package pathmtu

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// A Bound says how long a packet the path to a client carries.
type Bound struct {
	Client netip.Addr
	Size   int
}

// Bounds hands bounds on beside the packets' way, to who has the host keep to them. Of
// what comes meanwhile only the last of each address is handed on, so a client that keeps
// changing its mind costs little. Its methods may be called from any goroutine.
type Bounds struct {
	hand func([]Bound) error

	mu      sync.Mutex // guards all below
	waiting map[netip.Addr]int
	running chan struct{} // closed when the goroutine has ended; nil if there is none
	closed  bool
}

// handInterval is how often they are handed on at most.
const handInterval = 50 * time.Millisecond

// NewBounds returns Bounds that calls hand, which may take a while.
func NewBounds(hand func([]Bound) error) *Bounds {
	return &Bounds{hand: hand, waiting: make(map[netip.Addr]int)}
}

// Set is for Control.
func (b *Bounds) Set(client []netip.Addr, size int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range client {
		b.waiting[a] = size
	}
	if b.running == nil && len(b.waiting) > 0 && !b.closed {
		b.running = make(chan struct{})
		go b.run(b.running)
	}
}

// run hands on until there is no more.
func (b *Bounds) run(ended chan struct{}) {
	defer close(ended)
	for {
		b.mu.Lock()
		var list []Bound
		for a, size := range b.waiting {
			list = append(list, Bound{a, size})
		}
		clear(b.waiting)
		if len(list) == 0 || b.closed {
			b.running = nil
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		if err := b.hand(list); err != nil {
			slog.Warn("packets can't be made to fit the path to a client", "error", err)
		}
		time.Sleep(handInterval)
	}
}

// Close returns when nothing is being handed on any more.
func (b *Bounds) Close() error {
	b.mu.Lock()
	running := b.running
	b.closed = true
	b.mu.Unlock()
	if running != nil {
		<-running
	}
	return nil
}
