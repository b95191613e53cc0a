package hub

import (
	"net/netip"
	"sync"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/secure"
)

// This file sends to clients: whole bursts (write) and single messages (tell), and chooses the
// socket (toward).

// A queue is one socket paired with one queue of the TUN device. Step 7 has one pair, step 8
// several. Several goroutines write to the socket.
type queue struct {
	Queue
	opener *secure.Opener // owned by the goroutine that reads from the socket
	mu     sync.Mutex     // guards Socket.WriteBurst, and one
	one    *link.Burst    // for a message that travels alone

	device sync.Mutex // guards Device.WriteBurst
}

func (h *Hub) newQueue(q Queue) *queue {
	return &queue{Queue: q, opener: secure.NewOpener(h.table, h.drops), one: link.NewBurst()}
}

// write sends a burst to the socket.
func (q *queue) write(b *link.Burst) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.Socket.WriteBurst(b)
}

// deliver hands a burst to the device.
func (q *queue) deliver(b *link.Burst) error {
	q.device.Lock()
	defer q.device.Unlock()
	return q.Device.WriteBurst(b)
}

// tell sends one message, if m is not nil. It ignores errors: receive and send meet them,
// too, and report them.
func (q *queue) tell(m []byte, to netip.AddrPort) { q.tellSo(m, to, link.Hints{}) }

// tellSo is tell with hints for the socket.
func (q *queue) tellSo(m []byte, to netip.AddrPort, hints link.Hints) {
	if m == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.one.Reset()
	copy(q.one.Alloc(len(m)), m)
	q.one.Addr, q.one.Hints = to, hints
	q.Socket.WriteBurst(q.one)
}

// A Shared socket is one of several that reach the same clients: UDP sockets that share
// an address and port. Step 8 has one for each queue of the device.
type Shared interface {
	// Listener returns the same value for all of these.
	Listener() any
}

// toward returns the queue through which to send a packet for c that came from q's
// device. The kernel has chosen that queue of the device. The packet is sent through the
// same queue's socket, if it reaches the client, so that no goroutine waits for another's
// socket; otherwise through the socket that the client's messages come to.
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
