package fast

import (
	"cmp"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"stepvpn/shared/link"
)

// UDPOptions are what NewUDP takes beside the socket.
type UDPOptions struct {
	// Drops counts the packets that could not be carried. Required.
	Drops *link.Drops

	NoGSO bool // send every packet by itself
	NoGRO bool // receive every packet by itself

	// Shared by the sockets of one server. Without it each has its own.
	sources *sources
}

// A Socket is a UDP socket: a net.UDPConn is one, and so is what package transport
// carries UDP by.
type Socket interface {
	syscall.Conn
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
	Close() error
}

// socketBuffer is the size in bytes that is asked for the kernel's queues. With
// CAP_NET_ADMIN it is granted whatever net.core.rmem_max says.
const socketBuffer = 4 << 20

// Enlarge makes the kernel's queues of a socket what NewUDP wants them to be, for
// another process that may not. It is best effort.
func Enlarge(fd int) {
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer)
}

// A UDP is a UDP socket as a link.Link. A connected socket is a client's end: it
// sends to its server. Others send to the burst's Addr.
//
// The packets of a burst are datagrams of one sender, up to 64 in one call. When
// the kernel refuses to send them so, the UDP goes on without for a while.
type UDP struct {
	conn   Socket
	server netip.AddrPort // zero if not connected
	o      UDPOptions

	sources  *sources // nil if there is one address only to answer from
	receiver udpReceiver
	sender   udpSender
}

// NewUDP makes a Link of a socket, and owns it from then on.
func NewUDP(conn Socket, o UDPOptions) (*UDP, error) {
	u := &UDP{conn: conn, o: o}
	if a, ok := conn.RemoteAddr().(*net.UDPAddr); ok {
		u.server = unmap(a.AddrPort())
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		conn.Close()
		return nil, err
	}
	failed := raw.Control(func(fd uintptr) { err = u.setUp(int(fd)) })
	if err := cmp.Or(failed, err); err != nil {
		conn.Close()
		return nil, err
	}
	u.receiver.init(raw)
	u.sender.init(u, raw)
	return u, nil
}

// setUp sets the socket's options.
func (u *UDP) setUp(fd int) error {
	for force, plain := range map[int]int{
		unix.SO_RCVBUFFORCE: unix.SO_RCVBUF,
		unix.SO_SNDBUFFORCE: unix.SO_SNDBUF,
	} {
		// Best effort: a smaller buffer only drops sooner. Who is allowed to may have
		// made it larger before (see Enlarge).
		if size, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, plain); err == nil && size >= 2*socketBuffer {
			continue // the kernel shows the double
		}
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, socketBuffer) != nil {
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, socketBuffer)
		}
	}
	if !u.o.NoGRO {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1); err != nil {
			slog.Info("the kernel receives every packet by itself", "error", err)
		}
	}
	if _, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT); err != nil && !u.o.NoGSO {
		slog.Info("the kernel sends every packet by itself", "error", err)
		u.o.NoGSO = true
	}
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return err
	}
	u.sender.v6 = domain == unix.AF_INET6
	// Routers may fragment what is too long for the path. Otherwise the packet would
	// be lost, and where a firewall drops their message about that (ICMP
	// "fragmentation needed"), so would be all that follow. Since they fragment it,
	// no such message is believed: a forged one would have this host fragment everything,
	// and send packet by packet, for ten minutes. IPv6's routers do not fragment.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if err := u.askForClass(fd); err != nil {
		return err
	}
	if a := u.conn.LocalAddr().(*net.UDPAddr); !a.IP.IsUnspecified() {
		return nil
	}
	return u.askForLocal(fd)
}

// askForClass has the kernel tell the traffic class of a datagram.
func (u *UDP) askForClass(fd int) error {
	err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
	if err == nil && u.sender.v6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
	}
	return os.NewSyscallError("setsockopt", err)
}

// askForLocal has the kernel tell to which of the host's addresses a datagram
// came.
func (u *UDP) askForLocal(fd int) error {
	if u.sources = u.o.sources; u.sources == nil {
		u.sources = newSources()
	}
	level, option := unix.IPPROTO_IP, unix.IP_PKTINFO
	if u.sender.v6 {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO // tells IPv4 addresses, too
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, level, option, 1))
}

// Close closes the socket.
func (u *UDP) Close() error {
	u.conn.Close() // closing twice is fine
	return nil
}

// unmap gives an IPv4 address that came through an IPv6 socket its usual form.
func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

var _ link.Link = (*UDP)(nil)

// reusePort lets several sockets of one user listen on the same port: the kernel
// spreads the peers over them. It is for net.ListenConfig's Control.
func reusePort(_, _ string, c syscall.RawConn) error {
	var err error
	failed := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
	return errors.Join(failed, os.NewSyscallError("setsockopt", err))
}
