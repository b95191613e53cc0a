package hub

// Second reading: several queues.
//
// The kernel chooses the queue of the device from which a packet for a client comes. The
// packet is sent through that queue's socket, if it reaches the client, so that no
// goroutine waits for another's socket; otherwise through the socket that the client's
// messages come to.

// A Shared socket is one of several that reach the same clients: UDP sockets that share
// an address and port.
type Shared interface {
	// Listener returns the same value for all of these.
	Listener() any
}

// toward returns the queue through which to send a packet for c that came from q's device.
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
