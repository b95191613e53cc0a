package resolver

// A dns.Server takes every query and every connection, and gives up at the first error of a socket. Here it gets sockets
// that bound what is taken, and that live through errors that pass.

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"
)

const headerSize = 12 // of a DNS message in bytes

// isQuery counts a message, and tells whether there will be a reply. Replies to responses could go round in circles.
func (s *Server) isQuery(m []byte) bool {
	s.counts.queries.Add(1)
	switch {
	case len(m) < headerSize:
		s.counts.refuse(Malformed)
	case m[2]&0x80 != 0:
		s.counts.refuse(NotQuery)
	default:
		return true
	}
	return false
}

// passes waits a moment after an error of a socket, such as a lack of memory or of file descriptors. It reports false if
// the socket does not work any more; then the server ends.
func (s *Server) passes(err error) bool {
	switch {
	case errors.Is(err, net.ErrClosed):
		return false
	case errors.Is(err, unix.EINVAL): // it does not listen any more: accept(2)
		slog.Error("resolver: a socket has failed, and names are no longer answered", "error", err, "cure", "Start the server anew.")
		s.stop(err)
		closeAll(s.sockets)
		return false
	}
	s.trouble.Do(func() { slog.Warn("resolver: a socket has trouble, which may pass", "error", err) })
	time.Sleep(errorPause)
	return true
}

// A packetConn is a UDP socket. A dns.Server starts a goroutine for each datagram: busy bounds how many are at work.
type packetConn struct {
	*net.UDPConn
	s    *Server
	busy *semaphore.Weighted
}

func (c packetConn) ReadFrom(b []byte) (n int, from net.Addr, err error) {
	c.busy.Acquire(context.Background(), 1)
	for {
		n, from, err = c.UDPConn.ReadFrom(b)
		switch {
		case err != nil && !c.s.passes(err):
			return 0, nil, err
		case err != nil || !c.s.isQuery(b[:n]):
		case n > maxQuery:
			return headerSize, from, nil // which alone is malformed
		default:
			return n, from, nil
		}
	}
}

// SetReadDeadline does nothing: the next query may come at any time.
func (c packetConn) SetReadDeadline(time.Time) error { return nil }

// A listener accepts connections of clients that have a share left.
type listener struct {
	*net.TCPListener
	s *Server
}

func (l listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			if l.s.passes(err) {
				continue
			}
			return nil, err
		}
		client := l.s.cfg.Client(addrOf(c.RemoteAddr()))
		if l.s.conns.enter(client) {
			stop := context.AfterFunc(l.s.ctx, func() { c.Close() })
			leave := func() { stop(); l.s.conns.leave(client) }
			return &conn{TCPConn: c, s: l.s, leave: leave, free: semaphore.NewWeighted(maxPipelined), r: bufio.NewReader(c)}, nil
		}
		l.s.counts.refuse(TooManyConns)
		c.Close()
	}
}

// A conn is a TCP connection. Its queries are answered as soon as each can be, so not always in their order (RFC 7766,
// section 6.2.1.1); how many wait is bounded by free.
type conn struct {
	*net.TCPConn
	s     *Server
	leave func()
	free  *semaphore.Weighted
	mu    sync.Mutex // guards writing
	r     *bufio.Reader
	buf   [maxQuery]byte
}

func (c *conn) Read(b []byte) (int, error) { return c.r.Read(b) }

// A reader reads for a dns.Server: from a packetConn as that would itself, and from a conn by ReadTCP.
type reader struct{ dns.PacketConnReader }

// ReadTCP returns the next query, or an error when the client is silent for too long, sends nonsense, or has sent all it
// wants to, and has the answers. idle is a limit for a query's last byte, too (RFC 7766, section 6.2.3).
func (reader) ReadTCP(from net.Conn, idle time.Duration) ([]byte, error) {
	c := from.(*conn)
	c.SetReadDeadline(time.Now().Add(idle))
	n, err := (&dns.Conn{Conn: c}).Read(c.buf[:])
	if err == nil && c.s.isQuery(c.buf[:n]) {
		c.free.Acquire(context.Background(), 1)
		return bytes.Clone(c.buf[:n]), nil
	}
	if errors.Is(err, io.ErrShortBuffer) {
		c.s.isQuery(nil)
	}
	c.free.Acquire(context.Background(), maxPipelined)
	return nil, io.EOF
}

func (c *conn) Write(b []byte) (int, error) {
	defer c.free.Release(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.s.ctx.Err() // a server that ends answers nothing more
	if err == nil {
		c.SetWriteDeadline(time.Now().Add(c.s.cfg.limits.write))
		_, err = c.TCPConn.Write(b)
	}
	if err != nil {
		c.TCPConn.Close() // part of an answer may be sent: no other can follow
	}
	return len(b), err
}

// Close is called once, by the dns.Server.
func (c *conn) Close() error {
	c.leave()
	return c.TCPConn.Close()
}

// addrOf returns the address that a query came from.
func addrOf(a net.Addr) netip.Addr {
	at, _ := netip.ParseAddrPort(a.String())
	return at.Addr().Unmap()
}
