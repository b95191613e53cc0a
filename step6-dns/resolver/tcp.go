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

	"stepvpn/shared/accept"
)

// serveTCP accepts connections until l is closed.
func (s *Server) serveTCP(l *net.TCPListener) error {
	err := accept.Loop(s.ctx.Done(), l.AcceptTCP, func(conn *net.TCPConn) {
		from := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		client := s.cfg.Client(from)
		if !s.conns.enter(client) {
			s.counts.refuse(TooManyConns)
			conn.Close()
			return
		}
		s.workers.Go(func() {
			defer s.conns.leave(client)
			defer conn.Close()
			stop := context.AfterFunc(s.ctx, func() { conn.Close() })
			defer stop()
			s.serveConn(conn, from)
		})
	})
	if err != nil {
		return fmt.Errorf("resolver: %v, tcp: %w", l.Addr(), err)
	}
	return nil
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
	for {
		conn.SetReadDeadline(time.Now().Add(s.cfg.limits.idle))
		query, err := readTCP(r, maxQuery)
		if err != nil {
			if errors.Is(err, errTooLong) {
				s.counts.queries.Add(1)
				s.counts.refuse(Malformed)
			}
			return
		}
		slots <- struct{}{}
		waiting.Add(1)
		s.handle(query, asker{addr: from, tcp: true, send: send})
	}
}

var errTooLong = errors.New("message too long")

// readTCP reads a message and the two bytes of length before it (RFC 1035,
// section 4.2.2). It has at most so many bytes. Memory is taken for what arrives,
// not for what is announced.
func readTCP(r io.Reader, most int) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n > most {
		return nil, errTooLong
	}
	m, err := io.ReadAll(io.LimitReader(r, int64(n)))
	if err == nil && len(m) < n {
		err = io.ErrUnexpectedEOF
	}
	return m, err
}

// writeTCP writes a message behind its length, both at once.
func writeTCP(w io.Writer, m []byte) error {
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(m)), uint16(len(m)))
	_, err := w.Write(append(b, m...))
	return err
}
