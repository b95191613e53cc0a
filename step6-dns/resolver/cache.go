package resolver

import (
	"container/list"
	"sync"
	"time"

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
	for _, rr := range append(m.Answer[:len(m.Answer):len(m.Answer)], m.Ns...) {
		rr.Header().Ttl -= min(rr.Header().Ttl, age)
	}
	return m
}

// A cache remembers answers until their TTL is over; the least recently used ones go first when it is full. It is safe
// for concurrent use.
type cache struct {
	maxEntries, maxBytes int

	mu      sync.Mutex            // guards all below
	entries map[key]*list.Element // of *entry
	recent  list.List             // the most recently used one first
	bytes   int                   // of all entries
}

type entry struct {
	key   key
	found *answer
}

// entryOverhead is about what an entry takes besides names and records, in bytes.
const entryOverhead = 300

func (e *entry) bytes() int { return entryOverhead + len(e.key.name) + len(e.found.wire) }

func newCache(maxEntries, maxBytes int) *cache {
	return &cache{maxEntries: maxEntries, maxBytes: maxBytes, entries: make(map[key]*list.Element)}
}

// get returns what is known at this time, or nil.
func (c *cache) get(k key, now time.Time) *answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	noName := k
	noName.qtype = dns.TypeNone // a name that does not exist has no records of any type (RFC 2308, section 5)
	for _, k := range []key{k, noName} {
		element := c.entries[k]
		if element == nil {
			continue
		}
		if found := element.Value.(*entry).found; now.Before(found.at.Add(found.ttl)) {
			c.recent.MoveToFront(element)
			return found
		}
		c.remove(element)
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
	if element := c.entries[k]; element != nil {
		c.remove(element)
	}
	e := &entry{key: k, found: found}
	if found.ttl <= 0 || e.bytes() > c.maxBytes/16 {
		return
	}
	c.entries[k] = c.recent.PushFront(e)
	c.bytes += e.bytes()
	for len(c.entries) > c.maxEntries || c.bytes > c.maxBytes {
		c.remove(c.recent.Back())
	}
}

func (c *cache) remove(element *list.Element) {
	e := c.recent.Remove(element).(*entry)
	delete(c.entries, e.key)
	c.bytes -= e.bytes()
}
