package resolver

import (
	"fmt"
	"strings"
	"sync/atomic"
)

// A counter is what is counted: how queries were answered, and why they were refused. The list is closed: a query that is
// refused is counted under exactly one reason.
type counter uint8

const (
	queries      counter = iota // all, also those that are refused
	fromHere                    // answered by what is known of special names
	fromCache                   // answered by what an upstream has said before
	joined                      // waited for the upstream's answer to another one
	asked                       // caused a question to an upstream
	failures                    // of these, no upstream gave a good answer
	wrongAnswers                // messages from an upstream's address that answer no question of ours
	malformed                   // no DNS message, or not one question: FORMERR, or nothing if it has no header
	notQuery                    // a response, which gets no answer at all
	notSupported                // an operation other than QUERY: NOTIMP
	badVersion                  // of EDNS: BADVERS
	badClass                    // other than IN: REFUSED
	badType                     // zone transfers and other types that no record has: REFUSED
	notRecursive                // RD is clear; nobody looks into the cache: REFUSED
	tooMany                     // too many queries wait for an upstream: SERVFAIL
	tooManyConns                // too many TCP connections: this one is closed
	accepted                    // is not counted: there is no reason to refuse it
)

var counterNames = [accepted]string{"queries", ", local", ", from cache", ", joined", ", upstream", ", failed",
	"; wrong answers", "malformed", "not-a-query", "not-implemented", "bad-version", "bad-class", "bad-type",
	"not-recursive", "too-many", "too-many-connections"}

// counters are how often each was. The zero value is ready, and they are safe for concurrent use.
type counters [accepted]atomic.Uint64

func (c *counters) count(what counter) { c[what].Add(1) }

// String gives all counters in one line, such as
//
//	queries 12, local 0, from cache 5, joined 1, upstream 6, failed 0; wrong answers 0; refused: none
//
// Reasons that never were are left out.
func (c *counters) String() string {
	text, refused := "", ""
	for what, name := range counterNames {
		n := c[what].Load()
		switch {
		case what < int(malformed):
			text += fmt.Sprintf("%s %d", name, n)
		case n > 0:
			refused += fmt.Sprintf(", %s %d", name, n)
		}
	}
	if refused == "" {
		refused = ", none"
	}
	return text + "; refused: " + strings.TrimPrefix(refused, ", ")
}
