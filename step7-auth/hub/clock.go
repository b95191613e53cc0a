package hub

import (
	"context"
	"time"
)

// This file is what happens twice a second, for each client: its peer's timers, and the end of a
// client that has expired, is idle, did not log in, or never sent a packet.

// clock does what is due for the clients, until ctx ends. It looks at all of them twice
// per second: 10,000 clients take a few milliseconds, and no list has to be kept sorted.
func (h *Hub) clock(ctx context.Context) {
	ticker := time.NewTicker(clockInterval)
	defer ticker.Stop()
	var all []*client
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			all = h.directory.all(all[:0])
			for _, c := range all {
				h.tick(c, now)
			}
			h.shares.look(all, now)
			clear(all) // so that it keeps no client in memory
			h.directory.forget(now)
		}
	}
}

// tick does what is due for one client.
func (h *Hub) tick(c *client, now time.Time) {
	if at := c.wakeAt.Load(); at != 0 && at <= h.clockOf(now) {
		c.wakeAt.Store(0)
		m, to, _ := c.peer.Tick(now) // it fails only on the client's side
		c.tell(m, to)
	}
	state, age := c.state.Load(), time.Duration(h.clockOf(now)-c.since.Load())
	if state == pending {
		if age >= pendingFor && !c.mayBeLate() {
			h.leave(c, "a client that was let in has sent nothing", now)
		}
		return
	}
	expires := c.expires.Load()
	switch {
	case !c.peer.Alive():
		h.leave(c, "a client has left", now) // the peer has said why
	case expires != 0 && expires <= h.clockOf(now):
		h.recheck(c, now) // the registry may say something else by now
	case state == loggingIn && age >= loginWithin:
		h.end(c, noLogin, now)
	case h.cfg.Idle != 0 && now.Sub(c.peer.Status().Heard) >= h.cfg.Idle:
		h.end(c, idle, now)
	}
}
