package transport

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"stepvpn/shared/accept"
	"stepvpn/shared/link"
)

// tcpServer is the server's end over TCP: a listening socket and its connections. Each
// connection has a goroutine that reads a packet and hands it to ReadBurst before it
// reads the next, so TCP itself slows down a flood on one connection.
type tcpServer struct {
	listener net.Listener
	mtu      MTU
	drops    *link.Drops
	packets  chan *received
	done     chan struct{}
	close    func() error
	running  sync.WaitGroup // the goroutines

	mu    sync.Mutex
	table *connTable // guarded by mu
}

// serverConn is a connection and what waits to be sent on it.
type serverConn struct {
	*tcpConn
	out *outbox
	age uint64 // set by the table: larger for a later connection
}

// received is a packet on its way from a connection's goroutine to ReadBurst.
type received struct {
	from   netip.AddrPort
	packet []byte
	taken  chan struct{} // the goroutine may reuse packet
}

func serveTCP(listener *net.TCPListener, o Options) Conn {
	s := &tcpServer{
		listener: listener,
		mtu:      ServerMTU(listener),
		drops:    o.Drops,
		packets:  make(chan *received),
		done:     make(chan struct{}),
		table:    newConnTable(max(o.MaxConns, DefaultMaxConns)),
	}
	s.close = sync.OnceValue(s.shutdown)
	s.running.Go(s.accept)
	return s
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

// WriteBurst puts the packets into the outbox of a connection. It never waits.
func (s *tcpServer) WriteBurst(b *link.Burst) error {
	conn, size := s.conn(b.Addr)
	select {
	case <-s.done:
		return net.ErrClosed
	default:
	}
	for i := range b.Len() {
		switch {
		case conn == nil:
			s.drops.Add(link.NoPeer)
		case !conn.out.put(b.At(i), size):
			s.drops.Add(link.QueueFull)
		}
	}
	return nil
}

// conn returns the connection of a peer, or nil, and how many bytes may wait for it.
func (s *tcpServer) conn(peer netip.AddrPort) (c *serverConn, size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.table.find(peer)
}

// PeerMoved makes the server a link.PeerKeeper: the layer above names the peers whose
// connections have to be kept.
func (s *tcpServer) PeerMoved(before, now netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	giveUp(s.table.move(before, now))
}

// giveUp closes a connection that has to make room; c may be nil.
func giveUp(c *serverConn) {
	if c != nil {
		slog.Debug("too many connections, closing one", "peer", c.peer)
		c.out.end()
	}
}

func (s *tcpServer) Close() error { return s.close() }

func (s *tcpServer) shutdown() error {
	close(s.done)
	err := s.listener.Close()
	s.mu.Lock()
	for _, c := range s.table.conns {
		c.out.end()
	}
	s.mu.Unlock()
	s.running.Wait()
	return err
}

func (s *tcpServer) accept() {
	err := accept.Loop(s.done, s.listener.Accept, func(c net.Conn) { s.add(newTCPConn(c)) })
	if err != nil {
		slog.Error("no more connections are accepted", "error", err)
	}
}

// add adds the connection to the table and starts to read from it.
func (s *tcpServer) add(conn *tcpConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
		conn.Close()
		return
	default:
	}
	c := &serverConn{tcpConn: conn, out: newOutbox(conn.Conn)}
	giveUp(s.table.add(c))
	s.running.Go(func() { s.serve(c) })
	s.running.Go(c.out.send)
}

// serve reads packets from one connection until it ends.
func (s *tcpServer) serve(c *serverConn) {
	err := s.receive(c)
	slog.Debug("connection ended", "peer", c.peer, "error", err)
	c.out.end() // which closes the connection
	s.mu.Lock()
	s.table.remove(c)
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
		r.packet = buf[:n]
		select {
		case <-s.done:
			return net.ErrClosed
		case s.packets <- r:
			<-r.taken
		}
	}
}
