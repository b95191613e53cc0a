package transport

import (
	"net"
	"slices"
	"sync"
	"time"
)

// An outbox holds what a TCP server is about to send on one connection. A goroutine of
// its own sends it: a peer that does not receive, such as a phone that has lost its
// network, must not hold up the others. So put never waits: a packet for which there
// is no room is dropped, as at a network card.
type outbox struct {
	conn net.Conn
	wake chan struct{} // there is something to send; holds one, closed by end

	mu      sync.Mutex // guards all below
	waiting []byte     // whole frames
	ended   bool
}

const (
	// outboxSize is how many bytes may wait for one connection. If it were smaller,
	// a TCP download through the tunnel would lose packets more often and be slower.
	outboxSize = 1 << 20
	// strangersOutbox is the same for a stranger (see connTable), which is sent little.
	strangersOutbox = 128 << 10
	// outboxClose is how long it may take to send the waiting bytes when the outbox ends:
	// with the server, with its connection, or to make room for another connection.
	outboxClose = 200 * time.Millisecond
)

func newOutbox(c net.Conn) *outbox {
	return &outbox{conn: c, wake: make(chan struct{}, 1)}
}

// put adds a packet and returns true, unless more than size bytes would then wait.
func (o *outbox) put(p []byte, size int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended || len(o.waiting)+lengthSize+len(p) > size {
		return false
	}
	o.waiting = append(o.waiting, byte(len(p)>>8), byte(len(p)))
	o.waiting = append(o.waiting, p...)
	select {
	case o.wake <- struct{}{}:
	default: // it is awake
	}
	return true
}

// end stops accepting packets. send ends when the waiting ones are sent, or after
// outboxClose.
func (o *outbox) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ended {
		o.ended = true
		close(o.wake)
		o.conn.SetWriteDeadline(time.Now().Add(outboxClose))
	}
}

// send sends what is put into the outbox until the outbox ends, or until the peer takes
// longer than tcpWriteTimeout for a piece of streamBuffer bytes. Then it closes the
// connection.
func (o *outbox) send() {
	defer o.conn.Close()
	var sending []byte // the two buffers change places
	for open := true; open; {
		_, open = <-o.wake
		o.mu.Lock()
		sending, o.waiting = o.waiting, sending[:0]
		o.mu.Unlock()
		for piece := range slices.Chunk(sending, streamBuffer) {
			o.extend()
			if _, err := o.conn.Write(piece); err != nil {
				return
			}
		}
	}
}

// extend gives the next piece its time, unless the outbox has ended.
func (o *outbox) extend() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ended {
		o.conn.SetWriteDeadline(time.Now().Add(tcpWriteTimeout))
	}
}
