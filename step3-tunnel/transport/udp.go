package transport

import (
	"context"
	"net"
	"net/netip"

	"stepvpn/shared/link"
)

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
	mtu := pathMTU(server, o).lessUDP() // first: the last socket that Control sees is the one that stays
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
		// An error that an ICMP message reports about an earlier packet shows up here...
		if !Passing(err, c.drops) {
			return err
		}
		Rest(faults)
	}
}

func (c *udpClient) WriteBurst(b *link.Burst) error {
	for i := range b.Len() {
		_, err := c.Write(b.At(i))
		if err != nil {
			// ...or here, and then this packet has not been sent yet.
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
			b.Addr = unmap(from)
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
