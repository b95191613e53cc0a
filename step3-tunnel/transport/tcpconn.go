package transport

import (
	"bufio"
	"net"
	"net/netip"
	"time"

	"stepvpn/shared/link"
)

// tcpConn is one TCP connection that carries packets, of a client or of a server. One
// goroutine may read while another writes.
type tcpConn struct {
	net.Conn
	peer netip.AddrPort
	r    *bufio.Reader
	w    *bufio.Writer // made by the first write
}

const (
	// A peer that takes longer than this for one write counts as gone: for a burst, or on a
	// server for streamBuffer bytes.
	tcpWriteTimeout = 10 * time.Second
	// streamBuffer is the size in bytes of a connection's buffer in each direction.
	streamBuffer = 64 << 10
)

// tcpKeepAlive detects within about 15 s that an idle peer has vanished without
// closing the connection.
var tcpKeepAlive = net.KeepAliveConfig{Enable: true, Idle: 6 * time.Second, Interval: 3 * time.Second, Count: 3}

func newTCPConn(c net.Conn) *tcpConn {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetKeepAliveConfig(tcpKeepAlive) // best effort: without it, a vanished peer is noticed later
	}
	peer, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	return &tcpConn{c, unmap(peer), bufio.NewReaderSize(c, streamBuffer), nil}
}

func (c *tcpConn) read(buf []byte) (int, error) { return readFrame(c.r, buf) }

// write sends the whole burst, or closes the connection: the receiver could make no
// sense of what follows half a packet.
func (c *tcpConn) write(b *link.Burst) error {
	if c.w == nil {
		c.w = bufio.NewWriterSize(c, streamBuffer)
	}
	c.SetWriteDeadline(time.Now().Add(tcpWriteTimeout))
	err := writeFrames(c.w, b)
	if err != nil {
		c.Close()
	}
	return err
}
