package resolver

import (
	"fmt"
	"strings"
	"sync/atomic"
)

// A Reason says why a query was refused. The list is closed: a query that is refused is counted under exactly one.
type Reason uint8

const (
	Malformed      Reason = iota // no DNS message, or not one question: FORMERR, or nothing if it has no header
	NotQuery                     // a response, which gets no answer at all
	NotImplemented               // an operation other than QUERY: NOTIMP
	BadVersion                   // of EDNS: BADVERS
	BadClass                     // other than IN: REFUSED
	BadType                      // zone transfers and other types that no record has: REFUSED
	NotRecursive                 // RD is clear; nobody looks into the cache: REFUSED
	TooMany                      // too many queries wait for an upstream: SERVFAIL
	TooManyConns                 // too many TCP connections: this one is closed
	none                         // it is not refused
)

var reasonNames = [none]string{"malformed", "not-a-query", "not-implemented", "bad-version", "bad-class", "bad-type",
	"not-recursive", "too-many", "too-many-connections"}

// counters count queries by how they were answered. The zero value is ready, and they are safe for concurrent use.
type counters struct {
	queries  atomic.Uint64 // all, also those that are refused
	local    atomic.Uint64 // answered by what is known of special names
	cached   atomic.Uint64
	joined   atomic.Uint64 // waited for the upstream's answer to another one
	upstream atomic.Uint64 // caused a question to an upstream
	failed   atomic.Uint64 // of these, no upstream gave a good answer
	wrong    atomic.Uint64 // messages from an upstream's address that answer no question of ours
	refused  [none]atomic.Uint64
}

func (c *counters) refuse(r Reason) { c.refused[r].Add(1) }

// String gives all counters in one line.
func (c *counters) String() string {
	refused := ""
	for r, name := range reasonNames {
		if n := c.refused[r].Load(); n > 0 {
			refused += fmt.Sprintf(", %s %d", name, n)
		}
	}
	if refused == "" {
		refused = ", none"
	}
	return fmt.Sprintf("queries %d, local %d, from cache %d, joined %d, upstream %d, failed %d; wrong answers %d; refused: %s",
		c.queries.Load(), c.local.Load(), c.cached.Load(), c.joined.Load(), c.upstream.Load(), c.failed.Load(),
		c.wrong.Load(), strings.TrimPrefix(refused, ", "))
}
