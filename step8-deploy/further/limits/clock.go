package limits

import (
	"time"

	"stepvpn/step8-deploy/further/limits/plan"
)

// backFor is how long a clock has to be back in an earlier period until that is believed. A host
// that has no clock of its own starts with an old date until it has asked for the time: when that
// is right again, no quota must begin anew by it. But a clock that was years ahead is right now, and
// nobody must wait for those years. (It is not longer because each restart of the server begins to wait anew.)
const backFor = 6 * time.Hour

// at returns what the client has used at a time. The caller holds Table.mu.
func (c *Client) at(now time.Time) plan.Usage {
	u, day, elapsed := plan.Usage{Since: c.since, Bytes: c.used.Load()}, c.plan.StartDay(), c.table.down.now()
	if !plan.Begin(now, day).Before(u.Since) {
		c.back = time.Time{}
		return u.At(now, day)
	}
	if c.back.IsZero() {
		c.back, c.backAt = now, elapsed
	}
	if elapsed-c.backAt < backFor {
		return u
	}
	then := c.back
	c.back = time.Time{}
	return u.At(then, day).At(now, day) // in the meantime, another period may have begun
}
