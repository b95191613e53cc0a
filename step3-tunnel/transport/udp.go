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
	for {
		b.Reset()
		n, err := c.Read(b.Free())
		if err == nil {
			b.Alloc(n)
			b.Addr = c.server
			return nil
		}
		// An ICMP error about an earlier packet shows up here.
		if !refused(err, c.drops) {
			return err
		}
	}
}

func (c *udpClient) WriteBurst(b *link.Burst) error {
	for i := range b.Len() {
		if _, err := c.Write(b.At(i)); err != nil && !refused(err, c.drops) {
			return err
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
	for {
		b.Reset()
		n, from, err := s.ReadFromUDPAddrPort(b.Free())
		if err == nil {
			b.Alloc(n)
			b.Addr = unmap(from)
			return nil
		}
		if !refused(err, s.drops) {
			return err
		}
	}
}

func (s *udpServer) WriteBurst(b *link.Burst) error {
	for i := range b.Len() {
		if !b.Addr.IsValid() {
			s.drops.Add(link.NoPeer)
			continue
		}
		if _, err := s.WriteToUDPAddrPort(b.At(i), b.Addr); err != nil && !refused(err, s.drops) {
			return err
		}
	}
	return nil
}

// refused says whether err is about one packet that the network did not take,
// and counts it. Other errors mean that the socket is of no more use.
func refused(err error, drops *link.Drops) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	switch errno {
	case syscall.ENOBUFS, syscall.ENOMEM:
		drops.Add(link.QueueFull)
	case syscall.EMSGSIZE:
		drops.Add(link.TooBig)
	case syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN,
		syscall.ENETDOWN, syscall.EADDRNOTAVAIL, syscall.EINVAL, // our own address has gone
		syscall.EPERM, syscall.EACCES: // a firewall on this host
		drops.Add(link.Unreachable)
	default:
		return false
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
	l, err := o.UDP(socket, func(err error) bool { return refused(err, o.Drops) })
	if err != nil {
		return nil, err
	}
	return &carried{l, c.Addr(), c.MTU()}, nil
}

func (c *carried) Addr() netip.AddrPort { return c.addr }
func (c *carried) MTU() MTU             { return c.mtu }
