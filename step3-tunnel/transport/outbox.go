package transport

import (
	"net"
	"sync"
	"time"

	"stepvpn/shared/link"
)

const (
	// outboxSize is how many bytes wait for one connection at most.
	outboxSize = 256 << 10
	// outboxClose is how long what waits may take when the server closes.
	outboxClose = 200 * time.Millisecond
)

// An outbox holds what a server is about to send on one connection. A goroutine
// of its own sends it: a peer that takes nothing, such as a phone that has lost
// its network, must not hold up the others. What finds no room is dropped, as at
// a network card.
type outbox struct {
	conn net.Conn
	wake chan struct{} // holds one; closed by end

	mu      sync.Mutex // guards all below
	waiting []byte     // whole frames
	ended   bool
}

func newOutbox(c net.Conn) *outbox { return &outbox{conn: c, wake: make(chan struct{}, 1)} }

// put takes the packets of b, and returns how many found no room.
func (o *outbox) put(b *link.Burst) (dropped int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range b.Len() {
		p := b.At(i)
		if o.ended || len(o.waiting)+lengthSize+len(p) > outboxSize {
			dropped++
			continue
		}
		o.waiting = append(o.waiting, byte(len(p)>>8), byte(len(p)))
		o.waiting = append(o.waiting, p...)
	}
	if !o.ended {
		select {
		case o.wake <- struct{}{}:
		default: // it is awake
		}
	}
	return dropped
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
		if _, err := o.conn.Write(sending); err != nil {
			return
		}
	}
}
