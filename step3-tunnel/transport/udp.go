package transport

import (
	"context"
	"net"
	"net/netip"

	"stepvpn/shared/link"
)

// This file has both ends over UDP: the client's socket is connected, the server's takes datagrams
// from anyone.

// udpClient is the client's end over UDP: a socket that is connected to the server, so the
// kernel discards datagrams from anyone else.
type udpClient struct {
	*net.UDPConn
	mtu    MTU
	server netip.AddrPort
	drops  *link.Drops
}

// socketBuffer is the size in bytes that we request for the kernel's queues, so that
// there is room for a burst of packets while the program is busy. The kernel grants at
// most net.core.rmem_max and wmem_max.
const socketBuffer = 1 << 20

func dialUDP(server netip.AddrPort, o Options) (Conn, error) {
	// pathMTU asks the kernel what the path carries, less the IP header. It makes a socket for
	// that, and closes it: so it comes first, and the last one that o.Control sees is the end's.
	mtu := pathMTU(server, o).lessUDP()
	conn, err := o.dial(context.Background(), UDP, server)
	if err != nil {
		return nil, err
	}
	c := &udpClient{conn.(*net.UDPConn), mtu, server, o.Drops}
	if o.Dial == nil {
		enlargeBuffers(c.UDPConn)
	}
	return c, nil
}

func (c *udpClient) Addr() netip.AddrPort { return c.server }
func (c *udpClient) MTU() MTU             { return c.mtu }

func (c *udpClient) ReadBurst(b *link.Burst) error {
	for faults := 1; ; faults++ {
		b.Reset()
		n, err := c.Read(b.Free())
		if err == nil {
			b.Alloc(n)
			b.Addr = c.server
			return nil
		}
		// The kernel reports an ICMP message about an earlier packet as an error of the next
		// call: this Read, or the Write below. Passing counts it, unless it is "closed".
		if !Passing(err, c.drops) {
			return err
		}
		Rest(faults) // sleeps 1 ms if it was not one of the first 16 in a row
	}
}

func (c *udpClient) WriteBurst(b *link.Burst) error {
	for i := range b.Len() {
		_, err := c.Write(b.At(i))
		if err != nil {
			// It may be an earlier packet's, and then this one has not been sent: try
			// again. A second error is this packet's own. (The server's socket is not
			// connected: the kernel reports no ICMP message to it, so it need not try twice.)
			if _, again := c.Write(b.At(i)); again != nil {
				err = again
			}
			if !Passing(err, c.drops) {
				return err
			}
		}
	}
	return nil
}

// udpServer is one UDP socket that accepts datagrams from anyone.
type udpServer struct {
	*net.UDPConn
	mtu   MTU
	drops *link.Drops
}

func serveUDP(conn *net.UDPConn, o Options) Conn {
	return &udpServer{conn, ServerMTU(conn), o.Drops}
}

func (s *udpServer) Addr() netip.AddrPort { return localAddr(s.LocalAddr()) }
func (s *udpServer) MTU() MTU             { return s.mtu }

func (s *udpServer) ReadBurst(b *link.Burst) error {
	for faults := 1; ; faults++ {
		b.Reset()
		n, from, err := s.ReadFromUDPAddrPort(b.Free())
		if err == nil {
			b.Alloc(n)
			b.Addr = unmap(from) // IPv4 addresses in their usual form
			return nil
		}
		if !Passing(err, s.drops) {
			return err
		}
		Rest(faults)
	}
}

func (s *udpServer) WriteBurst(b *link.Burst) error {
	for i := range b.Len() {
		if !b.Addr.IsValid() {
			s.drops.Add(link.NoPeer)
			continue
		}
		if _, err := s.WriteToUDPAddrPort(b.At(i), b.Addr); err != nil && !Passing(err, s.drops) {
			return err
		}
	}
	return nil
}

func enlargeBuffers(c *net.UDPConn) {
	// Best effort: a smaller buffer only drops packets sooner.
	c.SetReadBuffer(socketBuffer)
	c.SetWriteBuffer(socketBuffer)
}

// localAddr is the address that a socket is bound to.
func localAddr(a net.Addr) netip.AddrPort {
	p, _ := netip.ParseAddrPort(a.String())
	return unmap(p)
}
