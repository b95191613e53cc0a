package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"stepvpn/shared/link"
)

// socketBuffer is the size in bytes that is asked for the kernel's queues, so
// that a burst of packets finds room while the program is busy. The kernel
// grants no more than net.core.rmem_max and wmem_max.
const socketBuffer = 1 << 20

// udpClient is a UDP socket connected to the server: the kernel then discards
// datagrams from anyone else.
type udpClient struct {
	*net.UDPConn
	mtu    MTU
	server netip.AddrPort
	drops  *link.Drops
}

func dialUDP(server netip.AddrPort, o Options) (Conn, error) {
	mtu := pathMTU(server, o).lessUDP() // first: the last socket that Control sees is the one that stays
	d := net.Dialer{Control: o.Control}
	conn, err := d.Dial("udp", server.String())
	if err != nil {
		return nil, err
	}
	c := &udpClient{conn.(*net.UDPConn), mtu, server, o.Drops}
	if o.UDP != nil {
		return carriedBy(o, c.UDPConn, c)
	}
	enlargeBuffers(c.UDPConn)
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
		// What an ICMP message says of an earlier packet shows up here...
		if !passing(err, c.drops) {
			return err
		}
		link.Rest(faults)
	}
}

func (c *udpClient) WriteBurst(b *link.Burst) error {
	for i := range b.Len() {
		_, err := c.Write(b.At(i))
		if err != nil {
			// ...or here, and then this packet is still to be sent.
			if _, again := c.Write(b.At(i)); again != nil {
				err = again
			}
			if !passing(err, c.drops) {
				return err
			}
		}
	}
	return nil
}

// udpServer is one UDP socket for whoever sends to it.
type udpServer struct {
	*net.UDPConn
	mtu   MTU
	drops *link.Drops
}

func listenUDP(addr string, o Options) (Conn, error) {
	config := net.ListenConfig{Control: o.Control}
	conn, err := config.ListenPacket(context.Background(), "udp", addr)
	if err != nil {
		return nil, err
	}
	s := &udpServer{conn.(*net.UDPConn), MTU{}, o.Drops}
	s.mtu = listenMTU(s.Addr()).lessUDP()
	if o.UDP != nil {
		return carriedBy(o, s.UDPConn, s)
	}
	enlargeBuffers(s.UDPConn)
	return s, nil
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
		if !passing(err, s.drops) {
			return err
		}
		link.Rest(faults)
	}
}

func (s *udpServer) WriteBurst(b *link.Burst) error {
	for i := range b.Len() {
		if !b.Addr.IsValid() {
			s.drops.Add(link.NoPeer)
			continue
		}
		if _, err := s.WriteToUDPAddrPort(b.At(i), b.Addr); err != nil && !passing(err, s.drops) {
			return err
		}
	}
	return nil
}

// passing says whether a socket goes on after err, and counts a packet then.
//
// It does after any error, but if it is closed. Some are about a packet that this host
// did not take. Others come of an ICMP message (RFC 1122, section 4.1.3.3), which
// anybody can forge who guesses two port numbers; so no list of errors would be safe.
func passing(err error, drops *link.Drops) bool {
	switch {
	case errors.Is(err, net.ErrClosed), errors.Is(err, syscall.EBADF), errors.Is(err, syscall.ENOTSOCK):
		return false
	case errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.EAGAIN):
		drops.Add(link.QueueFull)
	case errors.Is(err, syscall.EMSGSIZE):
		drops.Add(link.TooBig)
	default:
		drops.Add(link.Unreachable)
	}
	return true
}

func enlargeBuffers(c *net.UDPConn) {
	// Best effort: a smaller buffer only drops sooner.
	c.SetReadBuffer(socketBuffer)
	c.SetWriteBuffer(socketBuffer)
}

// localAddr is the address that a socket is bound to.
func localAddr(a net.Addr) netip.AddrPort {
	p, _ := netip.ParseAddrPort(a.String())
	return unmap(p)
}

// carried is a Conn whose packets go by another Link of its socket.
type carried struct {
	link.Link
	addr netip.AddrPort
	mtu  MTU
}

func carriedBy(o Options, socket *net.UDPConn, c Conn) (Conn, error) {
	l, err := o.UDP(socket, func(err error) bool { return passing(err, o.Drops) })
	if err != nil {
		return nil, err
	}
	return &carried{l, c.Addr(), c.MTU()}, nil
}

func (c *carried) Addr() netip.AddrPort { return c.addr }
func (c *carried) MTU() MTU             { return c.mtu }
