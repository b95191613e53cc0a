package resolver

import (
	"sync"
	"time"
)

// lookups hold what is known and what is being asked.
type lookups struct {
	mu    sync.Mutex // guards all below
	cache *cache
	calls map[key]*call // never more than queries wait
}

// A call is a question on its way to an upstream. All who ask the same wait
// for it (a "singleflight"). That saves questions, and it saves from an attacker: many equal
// questions on their way would give a forged answer as many chances.
type call struct {
	done  chan struct{} // closed when found is set
	found *answer
}

func newLookups() lookups {
	return lookups{cache: newCache(maxEntries, maxBytes), calls: make(map[key]*call)}
}

// cached returns what the cache has, or nil.
func (l *lookups) cached(k key, now time.Time) *answer {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cache.get(k, now)
}

// lookup finds the answer to a question. It may take as long as limits.total.
func (s *Server) lookup(k key) *answer {
	l := &s.known
	l.mu.Lock()
	if found := l.cache.get(k, s.now()); found != nil { // it came in the meantime
		l.mu.Unlock()
		s.counts.cached.Add(1)
		return found
	}
	if c := l.calls[k]; c != nil {
		l.mu.Unlock()
		s.counts.joined.Add(1)
		<-c.done
		return c.found
	}
	c := &call{done: make(chan struct{})}
	l.calls[k] = c
	l.mu.Unlock()

	s.counts.upstream.Add(1)
	c.found = s.ask(k)

	l.mu.Lock()
	l.cache.put(k, c.found)
	delete(l.calls, k)
	l.mu.Unlock()
	close(c.done)
	return c.found
}
