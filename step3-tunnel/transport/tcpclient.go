package transport

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"stepvpn/shared/link"
)

// tcpClient is the client's end over TCP: it keeps one connection to the server.
// ReadBurst makes the connection, and makes a new one when it breaks; packets written in
// between are dropped, as on an unplugged cable.
type tcpClient struct {
	server netip.AddrPort
	dial   func(ctx context.Context) (net.Conn, error)
	mtu    MTU
	drops  *link.Drops

	ctx   context.Context // ends with Close
	close context.CancelFunc

	pause time.Duration // before the next attempt to connect; used by ReadBurst only

	mu   sync.Mutex
	conn *tcpConn // nil while not connected; guarded by mu
}

// How long tcpClient waits between attempts to connect, at first and at most, and how
// long an attempt may take.
const (
	tcpRetryFirst = 500 * time.Millisecond
	tcpRetryMost  = 5 * time.Second
	tcpDialLimit  = 5 * time.Second
)

func dialTCP(server netip.AddrPort, o Options) (Conn, error) {
	c := &tcpClient{
		server: server,
		dial:   func(ctx context.Context) (net.Conn, error) { return o.dial(ctx, TCP, server) },
		mtu:    pathMTU(server, o).lessTCP(),
		drops:  o.Drops,
	}
	c.ctx, c.close = context.WithCancel(context.Background())
	return c, nil
}

func (c *tcpClient) Addr() netip.AddrPort { return c.server }
func (c *tcpClient) MTU() MTU             { return c.mtu }

func (c *tcpClient) ReadBurst(b *link.Burst) error {
	for {
		conn, err := c.connect()
		if err != nil {
			return err
		}
		b.Reset()
		n, err := conn.read(b.Free())
		if err == nil {
			c.pause = 0
			b.Alloc(n)
			b.Addr = c.server
			return nil
		}
		c.disconnect(conn, err)
	}
}

func (c *tcpClient) WriteBurst(b *link.Burst) error {
	if c.ctx.Err() != nil {
		return net.ErrClosed
	}
	conn := c.current()
	if conn == nil {
		for range b.Len() {
			c.drops.Add(link.NoPeer)
		}
		return nil
	}
	if err := conn.write(b); err != nil {
		for range b.Len() {
			c.drops.Add(link.Unreachable)
		}
		c.disconnect(conn, err)
	}
	return nil
}

func (c *tcpClient) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.close()
	if c.conn != nil {
		c.conn.Close()
	}
	return nil
}

func (c *tcpClient) current() *tcpConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn
}

// connect returns the connection, after making one if there is none. It waits longer
// and longer between attempts; a packet received over a connection resets the wait. It
// fails only when the client has been closed.
func (c *tcpClient) connect() (*tcpConn, error) {
	if conn := c.current(); conn != nil {
		return conn, nil
	}
	for {
		select {
		case <-c.ctx.Done():
			return nil, net.ErrClosed
		case <-time.After(c.pause):
		}
		first := c.pause == 0
		c.pause = min(max(2*c.pause, tcpRetryFirst), tcpRetryMost)
		ctx, cancel := context.WithTimeout(c.ctx, tcpDialLimit)
		conn, err := c.dial(ctx)
		cancel()
		if err == nil {
			return c.connected(conn)
		}
		if first && c.ctx.Err() == nil {
			slog.Info("cannot connect, trying again", "server", c.server, "error", err)
		}
	}
}

func (c *tcpClient) connected(conn net.Conn) (*tcpConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		conn.Close()
		return nil, net.ErrClosed
	}
	c.conn = newTCPConn(conn)
	slog.Info("connected", "server", c.server)
	return c.conn, nil
}

// disconnect forgets conn, which failed with err.
func (c *tcpClient) disconnect(conn *tcpConn, err error) {
	conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == conn {
		c.conn = nil
		if c.ctx.Err() == nil {
			slog.Info("connection lost, connecting again", "server", c.server, "error", err)
		}
	}
}
