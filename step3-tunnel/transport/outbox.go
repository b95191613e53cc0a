package transport

import (
	"net"
	"sync"
	"time"
)

const (
	// outboxSize is how many bytes wait for one connection at most.
	outboxSize = 256 << 10
	// outboxWait is how often a server that waits for room looks who else is there.
	outboxWait = 50 * time.Millisecond
	// outboxClose is how long what waits may take when the server closes.
	outboxClose = 200 * time.Millisecond
)

// An outbox holds what a server is about to send on one connection. A goroutine
// of its own sends it: a peer that takes nothing, such as a phone that has lost
// its network, must not hold up the others. What finds no room is dropped, as at
// a network card.
type outbox struct {
	conn net.Conn
	wake chan struct{} // there is something to send; holds one, closed by end
	room chan struct{} // there is room again; holds one

	mu      sync.Mutex // guards all below
	waiting []byte     // whole frames
	ended   bool
}

func newOutbox(c net.Conn) *outbox {
	return &outbox{conn: c, wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// put takes a packet. If it finds no room for it, it reports whether there may be
// some later.
func (o *outbox) put(p []byte) (ok, later bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended || len(o.waiting)+lengthSize+len(p) > outboxSize {
		return false, !o.ended
	}
	o.waiting = append(o.waiting, byte(len(p)>>8), byte(len(p)))
	o.waiting = append(o.waiting, p...)
	select {
	case o.wake <- struct{}{}:
	default: // it is awake
	}
	return true, false
}

// wait waits for room, but not for long.
func (o *outbox) wait() {
	select {
	case <-o.room:
	case <-time.After(outboxWait):
	}
}

// end takes no more packets. send ends when the last ones are sent, or soon.
func (o *outbox) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ended {
		o.ended = true
		close(o.wake)
		o.conn.SetWriteDeadline(time.Now().Add(outboxClose))
	}
}

// send sends what is put into the outbox until that ends, or until the peer has
// taken nothing for tcpWriteTimeout. Then it closes the connection.
func (o *outbox) send() {
	defer o.conn.Close()
	var sending []byte // the two buffers change places
	for open := true; open; {
		_, open = <-o.wake
		o.mu.Lock()
		sending, o.waiting = o.waiting, sending[:0]
		if !o.ended {
			o.conn.SetWriteDeadline(time.Now().Add(tcpWriteTimeout))
		}
		o.mu.Unlock()
		select {
		case o.room <- struct{}{}:
		default: // nobody has waited for it
		}
		if _, err := o.conn.Write(sending); err != nil {
			return
		}
	}
}
