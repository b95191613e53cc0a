package resolver

import (
	"net/netip"
	"sync"
)

// A quota bounds how much there is of something, for all clients and for each. A client gets no more than there is left,
// either: so however many take what they can, there is as much left as each of them has, for whoever comes next ("dynamic
// threshold", Choudhury and Hahne, 1998). It is safe for concurrent use.
type quota struct {
	all, each int
	client    func(netip.Addr) netip.Addr // see Config

	mu    sync.Mutex // guards all below
	total int
	of    map[netip.Addr]int // only clients that have some
}

func newQuota(all, each int, client func(netip.Addr) netip.Addr) *quota {
	return &quota{all: all, each: each, client: client, of: make(map[netip.Addr]int)}
}

// enter takes one for the client that has an address, and returns what gives it back, or nil if there is none left.
func (q *quota) enter(addr netip.Addr) (leave func()) {
	client := q.client(addr)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.of[client] >= min(q.each, q.all-q.total) {
		return nil
	}
	q.total++
	q.of[client]++
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.total--
		if q.of[client]--; q.of[client] == 0 {
			delete(q.of, client)
		}
	}
}
