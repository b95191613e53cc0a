package hub

import "time"

// This file is how a client comes in: its first packet under the new keys shows that its
// initiation was no replay. Then its packets pass, or the hub waits for its login.

// arrive lets a pending client in, in place of the machine that was there before (settle), or
// has it wait for its password, which the Welcome has asked for already.
func (h *Hub) arrive(c *client, now time.Time) {
	if c.peer.Status().Since.IsZero() {
		return
	}
	if !c.login {
		if !h.settle(c, now) {
			return
		}
	} else if c.since.Store(h.clockOf(now)); !h.directory.arrive(c) {
		return
	}
	h.recheck(c, now)
}

// recheck asks the registry once more whether a client that has just come may stay. The
// registry may have changed since the initiation or the password check, and before Cut
// could find the client.
func (h *Hub) recheck(c *client, now time.Time) {
	switch a, known := h.cfg.Admission.Lookup(c.key); {
	case !known:
		h.end(c, unknown, now)
	case a.expired(now):
		h.end(c, expired, now)
	case a.NeedsPassword && !c.login:
		h.end(c, changed, now)
	default:
		c.renew(h, a)
	}
}

// settle lets the packets of a client pass. Another machine with the same identity that
// was there before has to go. It reports false if c has gone.
func (h *Hub) settle(c *client, now time.Time) bool {
	before, ok := h.directory.settle(c)
	if before != nil {
		c.log.Warn("another machine, or the same one after a restart, takes the place of a client",
			"peer", c.peer.Status().Peer, "before", before.peer.Status().Peer)
		before.tell(before.peer.Close(replaced, now))
		h.tellEnded(before)
	}
	return ok
}
