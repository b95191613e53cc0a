package resolver

import (
	"container/list"
	"time"

	"github.com/miekg/dns"
)

// A cache remembers answers until their TTL is over, the least recently used
// ones go first when it is full. It is not safe for concurrent use.
type cache struct {
	maxEntries, maxBytes int

	entries map[key]*list.Element // of *entry
	recent  list.List             // the most recently used one first
	bytes   int                   // of all entries
}

type entry struct {
	key   key
	found *answer
}

// entryOverhead is about what an entry takes besides names and records, in
// bytes: the element, the entry, the answer, and its place in the map.
const entryOverhead = 300

func (e *entry) bytes() int { return entryOverhead + len(e.key.name) + len(e.found.wire) }

func newCache(maxEntries, maxBytes int) *cache {
	return &cache{maxEntries: maxEntries, maxBytes: maxBytes, entries: make(map[key]*list.Element)}
}

// get returns what is known at this time, or nil.
func (c *cache) get(k key, now time.Time) *answer {
	if found := c.exactly(k, now); found != nil {
		return found
	}
	// A name that does not exist has no records of any type.
	k.qtype = dns.TypeNone
	return c.exactly(k, now)
}

func (c *cache) exactly(k key, now time.Time) *answer {
	element := c.entries[k]
	if element == nil {
		return nil
	}
	e := element.Value.(*entry)
	if !e.found.fresh(now) {
		c.remove(element)
		return nil
	}
	c.recent.MoveToFront(element)
	return e.found
}

// put remembers an answer in place of the one before, unless it is of no use
// later, or so large that others would have to go for it.
func (c *cache) put(k key, found *answer) {
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
