package secure

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"stepvpn/shared/link"
)

// A Conn is the encrypted Link: packets written to it are sealed and go to the Link
// below, and messages that arrive there are opened.
//
// Two goroutines of the caller move packets, one for each direction, as with any Link.
// A third one, the Conn's own, sends the messages that no packet causes: handshakes and
// keepalives. The reading one never writes: if it did, both ends could wait in a write,
// and neither would read.
type Conn struct {
	cfg    *Config
	lower  link.Link
	peer   *Peer
	server *oneClient // nil in a client
	opener *Opener    // used only by the reading goroutine
	drops  *link.Drops

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

func start(lower link.Link, cfg Config, client bool) (*Conn, error) {
	complete, err := cfg.complete(client)
	if err != nil {
		lower.Close()
		return nil, err
	}
	table := NewTable(1)
	c := &Conn{
		cfg:     complete,
		lower:   lower,
		opener:  NewOpener(table, cfg.Drops),
		drops:   cfg.Drops,
		timer:   time.NewTimer(time.Hour), // set by the peer
		replies: make(chan reply, 16),
		stopped: make(chan struct{}),
		out:     link.NewBurst(),
	}
	c.ctx, c.end = context.WithCancelCause(context.Background())
	c.close = sync.OnceValue(c.shutDown)
	if client {
		c.peer = newClient(complete, table, owner{c}, time.Now())
	} else {
		r := &Responder{complete}
		c.peer = r.NewPeer(table, owner{c}, slog.Default())
		c.server = &oneClient{responder: r, peer: c.peer}
	}
	go c.run()
	return c, nil
}

// owner is the Conn as its Peer knows it.
type owner struct{ *Conn }

func (o owner) Wake(at time.Time) { o.timer.Reset(time.Until(at)) }

func (o owner) Moved(before, now netip.AddrPort) { link.PeerMoved(o.lower, before, now) }

// ReadBurst returns packets that the other side has sealed. Only their version and
// length have been checked: the other side may be hostile, too.
func (c *Conn) ReadBurst(b *link.Burst) error {
	for {
		if err := c.read(b); err != nil || b.Len() > 0 {
			return err
		}
	}
}

// ReadUntil reads until done returns true, and drops the packets that come: there is
// no place for them yet. In step 7, it also waits for a login.
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
	for _, in := range c.opener.Open(b, now) {
		switch in.Kind {
		case Packet:
			b.Set(kept, in.Content)
			kept++
		case Control:
			c.control(in.Control, in.Content)
		case Initiation:
			in.Reply = c.asked(in.Content, now)
		}
		if in.Reply != nil {
			c.reply(in.Reply, b.Addr)
		}
	}
	b.Truncate(kept)
	return nil
}

// asked handles an initiation, and returns the answer, or nil.
func (c *Conn) asked(initiation []byte, now time.Time) []byte {
	if c.server == nil {
		c.drops.Add(BadMessage)
		return nil
	}
	return c.server.answer(initiation, now)
}

// control passes a control message to Config.OnControl.
func (c *Conn) control(kind byte, content []byte) {
	if c.cfg.OnControl == nil {
		c.drops.Add(link.Malformed)
		return
	}
	if err := c.cfg.OnControl(kind, content); err != nil {
		c.end(err)
	}
}

// reply queues a message to be sent. If too many are waiting, it is dropped, which
// could happen in the network just as well.
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
	_, err := c.write(b, 0, all)
	return err
}

// write is WriteBurst for the packets from number first on, up to one that mine refuses: it
// returns that one's number. WriteBurst's mine is all; run.go has another.
func (c *Conn) write(b *link.Burst, first int, mine func(p []byte) bool) (next int, err error) {
	if c.ctx.Err() != nil {
		return first, context.Cause(c.ctx)
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	keys, to := c.peer.Sending(time.Now())
	c.out.Reset()
	for next = first; next < b.Len(); next++ {
		p := b.At(next)
		if !mine(p) {
			break
		}
		why, ok := keys.Seal(c.out, p)
		if !ok && why == link.TooBig && c.out.Len() > 0 { // the burst is full
			if err := c.flush(to, b.Hints); err != nil {
				return next, err
			}
			why, ok = keys.Seal(c.out, p)
		}
		if !ok {
			c.drops.Add(why)
		}
	}
	return next, c.flush(to, b.Hints)
}

func all([]byte) bool { return true }

// flush sends the messages in out. The caller must hold writing.
func (c *Conn) flush(to netip.AddrPort, hints link.Hints) error {
	if c.out.Len() == 0 {
		return nil
	}
	c.out.Addr, c.out.Hints = to, hints
	err := c.lower.WriteBurst(c.out)
	c.out.Reset()
	return c.failed(err)
}

// send sends one message that the peer has made.
func (c *Conn) send(message []byte, to netip.AddrPort, hints link.Hints) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.out.Reset()
	copy(c.out.Alloc(len(message)), message)
	return c.flush(to, hints)
}

// run sends handshakes, keepalives and replies, until the Conn ends.
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
			next.message, next.to, err = c.peer.Tick(time.Now())
		}
		if err == nil && next.message != nil {
			err = c.send(next.message, next.to, link.Hints{})
		}
		if err != nil {
			c.end(err)
		}
	}
}

// sayGoodbye tells the other side that the session ends. If the message gets lost, the
// other side notices the silence.
func (c *Conn) sayGoodbye() {
	if m, to := c.peer.Close(Rejected{}, time.Now()); m != nil {
		c.send(m, to, link.Hints{})
	}
}

// Fail ends the session as Close does, but with a reason: reading and writing return
// err from now on, unless the Conn has already ended. Step 7 calls it when a login fails.
func (c *Conn) Fail(err error) { c.end(err) }

// closeWait bounds how long Close tries to tell the other side.
const closeWait = 200 * time.Millisecond

// Close tells the other side that the session ends, gives up on that after 0.2 s, and
// closes the Link below. It may be called more than once.
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

// Status returns the present state of the session. Step 8 shows it, and acts on it.
func (c *Conn) Status() Status { return c.peer.Status() }

// SetMTU sets the length in bytes of the longest packet that the path now carries; see
// Config.MTU. Step 8 measures it while the session goes on.
func (c *Conn) SetMTU(mtu int) { c.peer.SetMTU(mtu) }

// Control sends a control message. kind is FirstKind or higher. Like any other packet,
// the message may get lost. Step 7's login is the first that needs one.
func (c *Conn) Control(kind byte, content []byte) error {
	m, to := c.peer.Control(kind, content, time.Now())
	return c.say(m, to, link.Hints{})
}

// say sends a control message, if there is a session.
func (c *Conn) say(m []byte, to netip.AddrPort, hints link.Hints) error {
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	if m == nil {
		c.drops.Add(NoSession)
		return nil
	}
	return c.send(m, to, hints)
}
