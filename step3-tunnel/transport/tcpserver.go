package transport

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"stepvpn/shared/link"
)

// DefaultMaxConns is how many TCP connections a server holds if Options do not
// say it. One more takes the place of the oldest that has never brought a packet,
// or else of the one that has been silent for longest. So a stranger who fills the
// table with connections does not push a client out that has something to say.
const DefaultMaxConns = 64

// acceptPause is the wait after a failed accept, which is mostly the process or
// the host being out of descriptors.
const acceptPause = 100 * time.Millisecond

// tcpServer is a listening socket and its connections. Each connection has a
// goroutine that reads a packet and hands it to ReadBurst before it reads the
// next, so a flood on one of them is slowed down by TCP itself.
type tcpServer struct {
	listener net.Listener
	mtu      MTU
	drops    *link.Drops
	maxConns int
	packets  chan *received
	done     chan struct{}
	close    func() error
	running  sync.WaitGroup // the goroutines

	mu    sync.Mutex
	conns map[netip.AddrPort]*serverConn // guarded by mu
}

// serverConn is a connection and what decides who has to go. The fields are
// guarded by tcpServer.mu.
type serverConn struct {
	*tcpConn
	out   *outbox
	spoke bool      // it has brought a packet
	heard time.Time // when it last did, or when it was accepted
}

// goesBefore says whether c should make room rather than d.
func (c *serverConn) goesBefore(d *serverConn) bool {
	if c.spoke != d.spoke {
		return d.spoke
	}
	return c.heard.Before(d.heard)
}

// received is a packet on its way from a connection's goroutine to ReadBurst.
type received struct {
	from   netip.AddrPort
	packet []byte
	taken  chan struct{} // the goroutine may reuse packet
}

func listenTCP(addr string, o Options) (Conn, error) {
	config := net.ListenConfig{Control: o.Control, KeepAliveConfig: tcpKeepAlive}
	listener, err := config.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &tcpServer{
		listener: listener,
		mtu:      listenMTU(localAddr(listener.Addr())).lessTCP(),
		drops:    o.Drops,
		maxConns: cmp.Or(o.MaxConns, DefaultMaxConns),
		packets:  make(chan *received),
		done:     make(chan struct{}),
		conns:    make(map[netip.AddrPort]*serverConn),
	}
	s.close = sync.OnceValue(s.shutdown)
	s.running.Go(s.accept)
	return s, nil
}

func (s *tcpServer) Addr() netip.AddrPort { return localAddr(s.listener.Addr()) }
func (s *tcpServer) MTU() MTU             { return s.mtu }

func (s *tcpServer) ReadBurst(b *link.Burst) error {
	b.Reset()
	select {
	case <-s.done:
		return net.ErrClosed
	case r := <-s.packets:
		copy(b.Alloc(len(r.packet)), r.packet)
		b.Addr = r.from
		r.taken <- struct{}{}
		return nil
	}
}

// WriteBurst puts the packets into the outbox of a connection. If that is full, it
// waits while there is no other connection, whose packets it would hold up.
func (s *tcpServer) WriteBurst(b *link.Burst) error {
	conn, alone := s.conn(b.Addr)
	select {
	case <-s.done:
		return net.ErrClosed
	default:
	}
	for i := range b.Len() {
		if conn == nil {
			s.drops.Add(link.NoPeer)
			continue
		}
		ok, later := conn.out.put(b.At(i))
		for !ok && later && alone {
			conn.out.wait()
			ok, later = conn.out.put(b.At(i))
			_, alone = s.conn(b.Addr)
		}
		if !ok {
			s.drops.Add(link.QueueFull)
		}
	}
	return nil
}

// conn returns the connection of a peer, or nil, and whether it is the only one.
func (s *tcpServer) conn(peer netip.AddrPort) (c *serverConn, alone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[peer], len(s.conns) == 1
}

func (s *tcpServer) Close() error { return s.close() }

func (s *tcpServer) shutdown() error {
	close(s.done)
	err := s.listener.Close()
	s.mu.Lock()
	for _, c := range s.conns {
		c.out.end()
	}
	s.mu.Unlock()
	s.running.Wait()
	return err
}

func (s *tcpServer) accept() {
	for {
		conn, err := s.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			slog.Warn("cannot accept a connection", "error", err)
			select {
			case <-s.done:
				return
			case <-time.After(acceptPause):
			}
			continue
		}
		s.add(newTCPConn(conn))
	}
}

// add takes the connection in, in place of another one if the table is full, and
// starts to read from it.
func (s *tcpServer) add(conn *tcpConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
		conn.Close()
		return
	default:
	}
	if len(s.conns) >= s.maxConns {
		var first *serverConn
		for _, c := range s.conns {
			if first == nil || c.goesBefore(first) {
				first = c
			}
		}
		slog.Debug("too many connections, closing the most silent one", "peer", first.peer)
		first.out.end()
		delete(s.conns, first.peer)
	}
	c := &serverConn{tcpConn: conn, out: newOutbox(conn.Conn), heard: time.Now()}
	s.conns[c.peer] = c
	s.running.Go(func() { s.serve(c) })
	s.running.Go(c.out.send)
}

// serve reads packets from one connection until it ends.
func (s *tcpServer) serve(c *serverConn) {
	err := s.receive(c)
	slog.Debug("connection ended", "peer", c.peer, "error", err)
	c.out.end() // and that closes it
	s.mu.Lock()
	if s.conns[c.peer] == c {
		delete(s.conns, c.peer)
	}
	s.mu.Unlock()
}

func (s *tcpServer) receive(c *serverConn) error {
	buf := make([]byte, link.MaxPacket)
	r := &received{from: c.peer, taken: make(chan struct{})}
	for {
		n, err := c.read(buf)
		if err != nil {
			return err
		}
		s.mu.Lock()
		c.spoke, c.heard = true, time.Now()
		s.mu.Unlock()
		r.packet = buf[:n]
		select {
		case <-s.done:
			return net.ErrClosed
		case s.packets <- r:
			<-r.taken
		}
	}
}
