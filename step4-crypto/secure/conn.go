package secure

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"stepvpn/shared/link"
)

// closeWait bounds the time that Close spends on telling the other side.
const closeWait = 200 * time.Millisecond

// A Conn is the encrypted Link: what is written to it is sealed and goes to the
// Link below, and what arrives there is opened.
//
// Two goroutines of the caller move packets, one a direction, as with any Link.
// A third one, the Conn's own, sends what the peer has to say by itself:
// handshakes and keepalives. The reading one never writes. Else both ends could
// wait in a write, each for the other to read.
type Conn struct {
	lower link.Link
	peer  *peer
	drops *link.Drops

	ctx   context.Context // ends when the Conn does; its cause says why
	end   context.CancelCauseFunc
	close func() error

	timer   *time.Timer   // fires when the peer has something to do
	replies chan reply    // from the reading goroutine
	stopped chan struct{} // closed when the Conn's goroutine has ended

	writing sync.Mutex // guards out, and lower.WriteBurst
	out     *link.Burst
}

type reply struct {
	message []byte
	to      netip.AddrPort
}

// Client connects to the server at the other end of lower, and returns when
// packets can pass in both directions. It fails when ctx ends or when cfg.Tries
// tries got no answer. Once connected the Conn does not fail for lack of an
// answer: it tries to get the session back until it is closed.
//
// The Conn owns lower, and closes it; so does a Client that fails.
func Client(ctx context.Context, lower link.Link, cfg Config) (*Conn, error) {
	c, err := start(lower, cfg, true)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() {
		c.end(context.Cause(ctx))
		c.Close()
	})
	if err := c.ReadUntil(func() bool { return !c.Status().Since.IsZero() }); err != nil {
		stop()
		c.Close()
		return nil, fmt.Errorf("connecting: %w", err)
	}
	if !stop() {
		c.Close()
		return nil, fmt.Errorf("connecting: %w", context.Cause(ctx))
	}
	return c, nil
}

// Server waits for a client at the other end of lower. It returns at once, and
// packets written before a client has come are dropped. There is one client at a
// time; another one that has the key takes its place.
//
// The Conn owns lower, and closes it; so does a Server that fails.
func Server(lower link.Link, cfg Config) (*Conn, error) {
	return start(lower, cfg, false)
}

func start(lower link.Link, cfg Config, client bool) (*Conn, error) {
	complete, err := cfg.complete(client)
	if err != nil {
		lower.Close()
		return nil, err
	}
	c := &Conn{
		lower:   lower,
		drops:   cfg.Drops,
		timer:   time.NewTimer(time.Hour), // set by the peer
		replies: make(chan reply, 16),
		stopped: make(chan struct{}),
		out:     link.NewBurst(),
	}
	c.ctx, c.end = context.WithCancelCause(context.Background())
	c.close = sync.OnceValue(c.shutDown)
	c.peer = newPeer(complete, client, time.Now(), func(at time.Time) { c.timer.Reset(time.Until(at)) })
	if k, ok := lower.(link.PeerKeeper); ok {
		c.peer.changed = k.PeerMoved
	}
	go c.run()
	return c, nil
}

// ReadBurst returns packets that the other side has sealed. Some of these may
// claim to be IP and not be it: no more than the first four bits is checked.
func (c *Conn) ReadBurst(b *link.Burst) error {
	for {
		if err := c.read(b); err != nil || b.Len() > 0 {
			return err
		}
	}
}

// ReadUntil reads until done reports true, and drops the packets that come:
// nobody can take them yet.
func (c *Conn) ReadUntil(done func() bool) error {
	b := link.NewBurst()
	for !done() {
		if err := c.read(b); err != nil {
			return err
		}
		c.dropAll(b, NoSession)
	}
	return nil
}

// read does one read below. It leaves in b the packets for the caller, if any.
func (c *Conn) read(b *link.Burst) error {
	if err := c.lower.ReadBurst(b); err != nil {
		return c.failed(err)
	}
	now := time.Now()
	kept := 0
	for i := range b.Len() {
		inside, m := c.peer.receive(b.At(i), b.Addr, now)
		if m != nil {
			c.reply(m, b.Addr)
		}
		if IsControl(inside) {
			c.control(inside)
			continue
		}
		if inside != nil {
			b.Set(kept, inside)
			kept++
		}
	}
	b.Truncate(kept)
	return nil
}

// reply has a message sent. When too many wait already it is dropped: the
// network might have done so too.
func (c *Conn) reply(message []byte, to netip.AddrPort) {
	select {
	case c.replies <- reply{message, to}:
	default:
		c.drops.Add(link.QueueFull)
	}
}

// WriteBurst seals the packets of b and sends them. Without a session it drops
// them.
func (c *Conn) WriteBurst(b *link.Burst) error {
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	s, to := c.peer.sending(time.Now())
	if s == nil {
		c.dropAll(b, NoSession)
		return nil
	}
	c.out.Reset()
	for i := range b.Len() {
		p := b.At(i)
		if contentOf(p) != packet {
			// Sealed, it could be mistaken for a message of ours.
			c.drops.Add(link.Malformed)
			continue
		}
		room := c.out.Alloc(len(p) + Overhead)
		if room == nil && c.out.Len() > 0 {
			if err := c.flush(to, b.Class); err != nil {
				return err
			}
			room = c.out.Alloc(len(p) + Overhead)
		}
		if room == nil {
			c.drops.Add(link.TooBig)
			continue
		}
		if _, ok := s.seal(room[:0], p); !ok {
			c.drops.Add(NoSession)
			c.out.Truncate(c.out.Len() - 1)
		}
	}
	return c.flush(to, b.Class)
}

// flush sends what is in out. The caller holds writing.
func (c *Conn) flush(to netip.AddrPort, class byte) error {
	if c.out.Len() == 0 {
		return nil
	}
	c.out.Addr, c.out.Class = to, class
	err := c.lower.WriteBurst(c.out)
	c.out.Reset()
	return c.failed(err)
}

// send sends one message of the peer, whole or as the Link below usually does.
func (c *Conn) send(message []byte, to netip.AddrPort, whole bool) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.out.Reset()
	c.out.Whole = whole
	copy(c.out.Alloc(len(message)), message)
	return c.flush(to, 0)
}

// run sends what the peer has to say, until the Conn ends.
func (c *Conn) run() {
	defer close(c.stopped)
	defer c.timer.Stop()
	for {
		var next reply
		var err error
		select {
		case <-c.ctx.Done():
			c.sayGoodbye()
			c.lower.Close()
			return
		case next = <-c.replies:
		case <-c.timer.C:
			next.message, next.to, err = c.peer.tick(time.Now())
		}
		if err == nil && next.message != nil {
			err = c.send(next.message, next.to, false)
		}
		if err != nil {
			c.end(err)
		}
	}
}

// sayGoodbye tells the other side that the session ends. When it gets lost, the
// other side finds out by the silence.
func (c *Conn) sayGoodbye() {
	s, to := c.peer.sending(time.Now())
	if s == nil {
		return
	}
	if m, ok := s.seal(nil, closeMessage); ok {
		c.send(m, to, false)
	}
}

// Fail ends the session as Close does, for a reason: reading and writing return err
// from now on, unless the Conn has ended already.
func (c *Conn) Fail(err error) { c.end(err) }

// Close tells the other side that the session ends, if that does not take long,
// and closes the Link below.
func (c *Conn) Close() error { return c.close() }

func (c *Conn) shutDown() error {
	c.end(net.ErrClosed)
	select {
	case <-c.stopped:
	case <-time.After(closeWait): // a writer is stuck below
	}
	err := c.lower.Close()
	<-c.stopped
	return err
}

// failed returns err, the failure of the Link below, or why the Conn has ended,
// if that came first.
func (c *Conn) failed(err error) error {
	if err != nil && c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	return err
}

func (c *Conn) dropAll(b *link.Burst, why link.Reason) {
	for range b.Len() {
		c.drops.Add(why)
	}
}

// A Status is what can be told of a session.
type Status struct {
	Peer  netip.AddrPort // where the other side was heard last; zero if the Link below does not tell
	Since time.Time      // when the keys came into use; zero if there is no session
	Heard time.Time      // when something authentic came from the other side last
	Lost  bool           // a client has asked for new keys lostTries times, without an answer
}

// Status returns the present state of the session.
func (c *Conn) Status() Status { return c.peer.status() }
