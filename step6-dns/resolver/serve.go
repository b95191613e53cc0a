package resolver

import (
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

// How messages get in and replies get out, over UDP and over TCP; query.go has what is in between.

// receive answers a query that a UDP socket receives into a buffer.
func (s *Server) receive(socket *net.UDPConn, query []byte) error {
	n, from, err := socket.ReadFromUDPAddrPort(query)
	if err == nil {
		s.handle(query[:n], asker{addr: from.Addr().Unmap(), send: func(b []byte) { socket.WriteToUDPAddrPort(b, from) }})
	}
	return err
}

// accept accepts a connection, if its client has a share left.
func (s *Server) accept(socket *net.TCPListener) error {
	conn, err := socket.AcceptTCP()
	if err != nil {
		return err
	}
	from := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	if leave := s.conns.enter(from); leave != nil {
		s.workers.Go(func() {
			defer leave()
			s.readTCP(conn, from)
		})
	} else {
		s.count(tooManyConns)
		conn.Close()
	}
	return nil
}

// readTCP answers the queries of a connection, each as soon as it can be, so not always in their order (RFC 7766, section
// 6.2.1.1). It ends when the client is silent for too long, sends nonsense, or has sent all it wants to, and has the
// answers.
func (s *Server) readTCP(socket *net.TCPConn, addr netip.Addr) {
	defer socket.Close()
	defer context.AfterFunc(s.ctx, func() { socket.Close() })()
	conn := &dns.Conn{Conn: socket}
	free := semaphore.NewWeighted(maxPipelined)
	var writing sync.Mutex
	from := asker{addr: addr, tcp: true, send: func(b []byte) {
		defer free.Release(1)
		writing.Lock()
		defer writing.Unlock()
		socket.SetWriteDeadline(time.Now().Add(s.cfg.limits.write))
		if s.ctx.Err() != nil { // a server that ends answers nothing more
			socket.Close()
		} else if _, err := conn.Write(b); err != nil {
			socket.Close() // part of an answer may be sent: no other can follow
		}
	}}
	query := make([]byte, maxQuery)
	for more := true; more; {
		free.Acquire(context.Background(), 1)
		socket.SetReadDeadline(time.Now().Add(s.cfg.limits.idle)) // for a query's last byte, too (RFC 7766, section 6.2.3)
		n, err := conn.Read(query)
		more = (err == nil || errors.Is(err, io.ErrShortBuffer)) && s.handle(query[:n], from)
	}
	free.Acquire(context.Background(), maxPipelined-1) // all that wait for an answer; the last place is taken by no query
}

// repeat does something with a socket again and again, until the socket does not work any more. After an error that may
// pass, such as a lack of memory or of file descriptors, it waits a moment.
func (s *Server) repeat(do func() error) {
	s.workers.Go(func() {
		for {
			switch err := do(); {
			case err == nil:
			case errors.Is(err, net.ErrClosed):
				return
			case errors.Is(err, unix.EINVAL): // it does not listen any more: accept(2)
				slog.Error("resolver: a socket has failed, and names are no longer answered", "error", err, "cure", "Start the server anew.")
				s.end()
				return
			default:
				s.trouble.Do(func() { slog.Warn("resolver: a socket has trouble, which may pass", "error", err) })
				time.Sleep(errorPause)
			}
		}
	})
}
