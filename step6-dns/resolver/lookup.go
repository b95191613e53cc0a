package resolver

import (
	"sync"
	"time"
)

// lookups hold what is known and what is being asked.
type lookups struct {
	mu      sync.Mutex // guards all below
	cache   *cache
	flights map[key]*flight // never more than queries wait
}

// A flight is a question on its way to an upstream. All who ask the same wait
// for it. That saves questions, and it saves from an attacker: many equal
// questions on their way would give a forged answer as many chances.
type flight struct {
	done  chan struct{} // closed when found is set
	found *answer
}

func newLookups() lookups {
	return lookups{cache: newCache(maxEntries, maxBytes), flights: make(map[key]*flight)}
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
	if f := l.flights[k]; f != nil {
		l.mu.Unlock()
		s.counts.joined.Add(1)
		<-f.done
		return f.found
	}
	f := &flight{done: make(chan struct{})}
	l.flights[k] = f
	l.mu.Unlock()

	s.counts.upstream.Add(1)
	f.found = s.ask(k)

	l.mu.Lock()
	l.cache.put(k, f.found)
	delete(l.flights, k)
	l.mu.Unlock()
	close(f.done)
	return f.found
}
