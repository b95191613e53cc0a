package resolver

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/miekg/dns"
)

// An answer is what is known of a question, and until when. It holds a packed message: so it never changes, and its size
// is known. It is safe for concurrent use.
type answer struct {
	wire   []byte
	at     time.Time
	ttl    time.Duration // whole seconds; 0 is for those who wait only
	noName bool          // the name itself does not exist, and is no alias
}

// message returns the answer as a message of the caller's own. Its TTLs are what is left of them.
func (a *answer) message(now time.Time) *dns.Msg {
	m := new(dns.Msg)
	if err := m.Unpack(a.wire); err != nil {
		return failed(dns.RcodeServerFailure) // we have packed it
	}
	age := uint32(min(max(now.Sub(a.at), 0), maxTTL) / time.Second)
	for _, rr := range records(m) {
		rr.Header().Ttl -= min(rr.Header().Ttl, age)
	}
	return m
}

// A cache remembers answers until their TTL is over; the least recently used ones go first when it is full. It is safe
// for concurrent use.
type cache struct {
	maxBytes int

	mu    sync.Mutex // guards all below
	lru   *simplelru.LRU[key, *answer]
	bytes int // of all answers
}

func newCache(maxEntries, maxBytes int) *cache {
	c := &cache{maxBytes: maxBytes}
	c.lru, _ = simplelru.NewLRU(maxEntries, func(k key, gone *answer) { c.bytes -= size(k, gone) })
	return c
}

// size is about what an answer takes, in bytes: names and records, and what is kept about them.
func size(k key, a *answer) int { return 300 + len(k.name) + len(a.wire) }

// get returns what is known at this time, or nil.
func (c *cache) get(k key, now time.Time) *answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	noName := k
	noName.qtype = dns.TypeNone // a name that does not exist has no records of any type (RFC 2308, section 5)
	for _, k := range []key{k, noName} {
		found, ok := c.lru.Get(k)
		if ok && now.Before(found.at.Add(found.ttl)) {
			return found
		}
		c.lru.Remove(k)
	}
	return nil
}

// put remembers an answer in place of the one before, unless it is of no use later, or so large that others would have
// to go for it.
func (c *cache) put(k key, found *answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found.noName {
		k.qtype = dns.TypeNone
	}
	c.lru.Remove(k)
	if found.ttl <= 0 || size(k, found) > c.maxBytes/16 {
		return
	}
	c.lru.Add(k, found)
	for c.bytes += size(k, found); c.bytes > c.maxBytes; {
		c.lru.RemoveOldest()
	}
}
