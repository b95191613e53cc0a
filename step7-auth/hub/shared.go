package hub

// Second reading: several queues.
//
// The kernel chooses by which queue of the device a packet for a client comes. It is
// sent by the socket beside it, if that reaches the client, so that no goroutine waits
// for another's socket; else by the one that the client came to.

// A Shared socket is one of several that reach the same clients: those of UDP that
// share an address and port.
type Shared interface {
	// Listener is equal for those.
	Listener() any
}

// toward returns the queue to send by what has come by q and is for c.
func (q *queue) toward(c *client) *queue {
	via := c.via.Load()
	if via != q {
		ours, ok := q.Socket.(Shared)
		theirs, ok2 := via.Socket.(Shared)
		if ok && ok2 && ours.Listener() == theirs.Listener() {
			return q
		}
	}
	return via
}
