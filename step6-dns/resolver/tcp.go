package resolver

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// serveTCP accepts connections until l is closed.
func (s *Server) serveTCP(l *net.TCPListener) error {
	patience := patience{ctx: s.ctx}
	for {
		conn, err := l.AcceptTCP()
		if err != nil {
			if !patience.lost(err) {
				continue
			}
			if errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("resolver: %v, tcp: %w", l.Addr(), err)
		}
		patience.lost(nil)
		from := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if !s.conns.enter(from) {
			s.counts.refuse(TooManyConns)
			conn.Close()
			continue
		}
		s.workers.Go(func() {
			defer s.conns.leave(from)
			defer conn.Close()
			stop := context.AfterFunc(s.ctx, func() { conn.Close() })
			defer stop()
			s.serveConn(conn, from)
		})
	}
}

// serveConn answers the queries of one connection, each as soon as it can be,
// so not always in their order (RFC 7766, section 6.2.1.1). It returns when the
// client is silent for too long, sends nonsense, or has sent all it wants to
// and has the answers.
func (s *Server) serveConn(conn net.Conn, from netip.Addr) {
	var waiting sync.WaitGroup
	defer waiting.Wait()
	slots := make(chan struct{}, maxPipelined)
	var mu sync.Mutex // guards writing
	send := func(reply []byte) {
		if reply != nil {
			mu.Lock()
			conn.SetWriteDeadline(time.Now().Add(s.cfg.limits.write))
			if err := writeTCP(conn, reply); err != nil {
				conn.Close() // part of an answer may be sent: no other can follow
			}
			mu.Unlock()
		}
		<-slots
		waiting.Done()
	}

	r := bufio.NewReader(conn)
	buf := make([]byte, maxQuery)
	for {
		conn.SetReadDeadline(time.Now().Add(s.cfg.limits.idle))
		n, err := readTCP(r, buf)
		if err != nil {
			if errors.Is(err, errTooLong) {
				s.counts.queries.Add(1)
				s.counts.refuse(Malformed)
			}
			return
		}
		slots <- struct{}{}
		waiting.Add(1)
		s.handle(buf[:n], asker{addr: from, tcp: true, send: send})
	}
}

var errTooLong = errors.New("message too long")

// readTCP reads a message and the two bytes of length before it (RFC 1035,
// section 4.2.2), and returns its length.
func readTCP(r io.Reader, buf []byte) (int, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return 0, err
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n > len(buf) {
		return 0, errTooLong
	}
	_, err := io.ReadFull(r, buf[:n])
	return n, err
}

// writeTCP writes a message behind its length, both at once.
func writeTCP(w io.Writer, m []byte) error {
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(m)), uint16(len(m)))
	_, err := w.Write(append(b, m...))
	return err
}
