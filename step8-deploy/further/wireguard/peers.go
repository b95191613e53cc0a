package wireguard

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"stepvpn/shared/link"
	"stepvpn/step3-tunnel/tunnel"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
)

// This file is a client's data path: one Link in which each packet goes to one of several peers,
// or comes from one. (Who keeps the sessions with them is for client.go.)
//
//	device ─ WriteBurst ─┬─> session of peer 1      by destination
//	                     └─> session of peer 2
//	device <─ ReadBurst ─┬── session of peer 1      if it has the source
//	                     └── session of peer 2
//
// A burst from the device goes to the sessions run by run: packets that follow one another and
// are for the same peer are sealed and sent together. With one peer, ReadBurst reads from its
// session. With more, each session has a goroutine that reads, and hands its burst over: one
// that waits for its turn does not read, so no packets pile up, and no peer keeps another out.

// A Peer is one peer of a client: what its file says about it, and its session, which comes and
// goes.
type Peer struct {
	PublicKey  noise.PublicKey
	AllowedIPs []netip.Prefix // the addresses inside the tunnel that this peer has

	Sent, Received tunnel.Flow // IP packets inside the tunnel

	mine func(p []byte) bool // whether a packet is for this peer; for the goroutine that writes

	mu      sync.Mutex    // guards all below
	session *session      // nil if there is none
	changed chan struct{} // closed when there is another
}

// A session is a Conn that a Peer uses, until it fails.
type session struct {
	peer *Peer
	conn *secure.Conn
	in   lookup // for the goroutine that reads

	ended chan struct{} // closed when it has failed
	once  sync.Once
	err   error // why it has failed; set before ended is closed
}

// Peers are the peers of one client. Their sessions come and go by Use, and Open returns the
// Link to them all.
type Peers struct {
	list  []*Peer
	table *allowedIPs
	drops *link.Drops

	to      lookup       // for the goroutine that writes
	arrived chan arrival // with more than one peer
}

// An arrival is a burst that a session's goroutine hands over. That goroutine goes on when it
// has got another burst in exchange.
type arrival struct {
	burst *link.Burst
	taken chan<- struct{}
}

// NewPeers makes the Peers out of a list, whose fields PublicKey and AllowedIPs are set. It
// counts in drops what it drops: packets that no peer is to get (link.NoPeer), that a peer
// without a session is to get (secure.NoSession), and that come from a source that their sender
// must not use (NotAllowed).
func NewPeers(list []*Peer, drops *link.Drops) *Peers {
	p := &Peers{list: list, table: newAllowedIPs(list), drops: drops, arrived: make(chan arrival)}
	p.to.allowedIPs = p.table
	for _, peer := range list {
		peer.changed = make(chan struct{})
		peer.mine = func(packet []byte) bool {
			to, _, _ := p.recipient(packet)
			return to == peer
		}
	}
	return p
}

// Use moves packets through conn, the session with a peer of this list, until conn fails or ctx
// ends. It closes conn, and returns why conn has failed, or nil if ctx has ended. One goroutine
// may call it for a peer at a time.
func (p *Peers) Use(ctx context.Context, peer *Peer, conn *secure.Conn) error {
	s := &session{peer: peer, conn: conn, ended: make(chan struct{})}
	s.in.allowedIPs = p.table
	peer.set(s)
	var reading sync.WaitGroup
	if len(p.list) > 1 {
		reading.Go(func() { p.handOver(s) })
	}
	select {
	case <-ctx.Done():
	case <-s.ended:
	}
	failed := s.fail(nil)
	conn.Close()
	reading.Wait()
	return failed
}

// set makes s the session of the peer; nil is for none.
func (peer *Peer) set(s *session) {
	peer.mu.Lock()
	defer peer.mu.Unlock()
	peer.session = s
	close(peer.changed)
	peer.changed = make(chan struct{})
}

// now returns the session, or nil, and a channel that is closed when there is another.
func (peer *Peer) now() (*session, <-chan struct{}) {
	peer.mu.Lock()
	defer peer.mu.Unlock()
	return peer.session, peer.changed
}

// fail ends the session, if it has not ended yet, and returns why it has. Use calls it before it
// returns, so the peer's next session begins only after that.
func (s *session) fail(err error) error {
	s.once.Do(func() {
		s.err = err
		s.peer.set(nil)
		close(s.ended)
	})
	return s.err
}

// read reads one burst from the session, and leaves in it the packets whose source the peer has.
func (s *session) read(b *link.Burst, drops *link.Drops) error {
	if err := s.conn.ReadBurst(b); err != nil {
		return err
	}
	kept, bytes := 0, 0
	for i := range b.Len() {
		p := b.At(i)
		if why, ok := s.passes(p); !ok {
			drops.Add(why)
			continue
		}
		b.Set(kept, p)
		kept++
		bytes += len(p)
	}
	b.Truncate(kept)
	s.peer.Received.Add(kept, bytes)
	return nil
}

// passes reports whether a packet that the peer has sent may pass, or why it must be dropped: it
// is not one whole packet (link.Malformed), or another peer has its source, or nobody has
// (NotAllowed).
//
//exercise:3
func (s *session) passes(p []byte) (why link.Reason, ok bool) {
	src, _, ok := addresses(p)
	switch {
	case !ok:
		return link.Malformed, false
	case s.in.peerOf(src) != s.peer:
		return NotAllowed, false
	}
	return 0, true
}

// handOver reads from a session for the goroutine in ReadBurst, until the session ends.
func (p *Peers) handOver(s *session) {
	b, taken := link.NewBurst(), make(chan struct{}, 1)
	for {
		if err := s.read(b, p.drops); err != nil {
			s.fail(err)
			return
		}
		if b.Len() == 0 {
			continue
		}
		select {
		case p.arrived <- arrival{b, taken}:
			<-taken
		case <-s.ended:
			return
		}
	}
}

// recipient returns the peer that a packet is for. If the packet must be dropped, it reports
// false, and why: it is not one whole packet (link.Malformed), or no peer has its destination
// (link.NoPeer).
//
//exercise:3
func (p *Peers) recipient(packet []byte) (to *Peer, why link.Reason, ok bool) {
	_, dst, ok := addresses(packet)
	if !ok {
		return nil, link.Malformed, false
	}
	if to = p.to.peerOf(dst); to == nil {
		return nil, link.NoPeer, false
	}
	return to, 0, true
}

// Open returns the Link to the peers. There may be one at a time: close it before the next one
// is opened. Its Close unblocks a ReadBurst; if there is one peer, only once that has no session.
func (p *Peers) Open() link.Link { return &opened{Peers: p, closed: make(chan struct{})} }

// opened is what Open returns.
type opened struct {
	*Peers
	once   sync.Once
	closed chan struct{}
}

func (o *opened) Close() error {
	o.once.Do(func() { close(o.closed) })
	return nil
}

func (o *opened) ReadBurst(b *link.Burst) error {
	if len(o.list) == 1 {
		return o.readOnly(o.list[0], b)
	}
	select {
	case a := <-o.arrived:
		b.Swap(a.burst)
		a.taken <- struct{}{}
		return nil
	case <-o.closed:
		return net.ErrClosed
	}
}

// readOnly reads from the only peer.
func (o *opened) readOnly(peer *Peer, b *link.Burst) error {
	for {
		s, changed := peer.now()
		if s == nil {
			select {
			case <-changed:
				continue
			case <-o.closed:
				return net.ErrClosed
			}
		}
		err := s.read(b, o.drops)
		if err == nil && b.Len() > 0 {
			return nil
		}
		if err != nil {
			s.fail(err)
		}
	}
}

// WriteBurst sends each packet to the peer that has its destination.
func (o *opened) WriteBurst(b *link.Burst) error {
	select {
	case <-o.closed:
		return net.ErrClosed
	default:
	}
	for i := 0; i < b.Len(); {
		peer, why, ok := o.recipient(b.At(i))
		if !ok {
			o.drops.Add(why)
			i++
			continue
		}
		i = peer.write(b, i, o.drops)
	}
	return nil
}

// write sends packets of b to the peer, from number first on, as long as they are for it. It
// returns the number of the first that is not. If the session fails, the rest of these packets is
// dropped.
func (peer *Peer) write(b *link.Burst, first int, drops *link.Drops) (next int) {
	s, _ := peer.now()
	if s == nil {
		drops.Add(secure.NoSession)
		return first + 1
	}
	next, err := s.conn.WriteRun(b, first, peer.mine)
	if err != nil {
		s.fail(err)
		drops.Add(secure.NoSession)
		return max(next, first+1)
	}
	bytes := 0
	for i := first; i < next; i++ {
		bytes += len(b.At(i))
	}
	peer.Sent.Add(next-first, bytes)
	return next
}
