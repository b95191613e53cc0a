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

// A UDP is a UDP socket as a link.Link. A connected socket is a client's end: it
// sends to its server. Others send to the burst's Addr.
//
// The packets of a burst are datagrams of one sender, up to 64 in one call. If the kernel
// refuses to send them that way, the UDP sends them one by one for a while.
type UDP struct {
	conn   Socket
	server netip.AddrPort // zero if not connected
	o      UDPOptions

	sources  *sources // nil if there is only one address to answer from
	receiver udpReceiver
	sender   udpSender
}

// UDPOptions are NewUDP's options.
type UDPOptions struct {
	// Drops counts the packets that could not be carried. Required.
	Drops *link.Drops

	NoGSO bool // send every packet by itself
	NoGRO bool // receive every packet by itself

	// Shared by the sockets of one server. Without it each has its own.
	sources *sources
}

// NewUDP makes a Link out of a socket, which the Link then owns.
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

// A Socket is a UDP socket, such as a net.UDPConn or package transport's UDP socket.
type Socket interface {
	syscall.Conn
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
	Close() error
}

// socketBuffer is the size, in bytes, to request for the kernel's queues. With CAP_NET_ADMIN
// it is granted whatever net.core.rmem_max says.
const socketBuffer = 4 << 20

// Enlarge makes the kernel's queues of a socket as large as NewUDP wants them, on behalf of
// another process that may not do so. It ignores errors.
func Enlarge(fd int) {
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer)
}

// setUp sets the socket's options.
func (u *UDP) setUp(fd int) error {
	for force, plain := range map[int]int{
		unix.SO_RCVBUFFORCE: unix.SO_RCVBUF,
		unix.SO_SNDBUFFORCE: unix.SO_SNDBUF,
	} {
		// Ignore errors: a smaller buffer only drops packets sooner. A privileged process may
		// have enlarged it before (see Enlarge).
		if size, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, plain); err == nil && size >= 2*socketBuffer {
			continue // large enough: the kernel reports twice the size
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
	// Let routers fragment packets that are too long for the path. Otherwise such a packet
	// would be lost, and if a firewall drops the router's message about that (ICMP
	// "fragmentation needed"), so would all that follow. As routers fragment, the kernel is
	// told to ignore such messages: a forged one would make this host fragment everything,
	// and send packets one by one, for ten minutes. IPv6 routers do not fragment.
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

// askForClass makes the kernel report the traffic class of each datagram.
func (u *UDP) askForClass(fd int) error {
	err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
	if err == nil && u.sender.v6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
	}
	return os.NewSyscallError("setsockopt", err)
}

// askForLocal makes the kernel report which of the host's addresses each datagram was sent to.
func (u *UDP) askForLocal(fd int) error {
	if u.sources = u.o.sources; u.sources == nil {
		u.sources = newSources()
	}
	level, option := unix.IPPROTO_IP, unix.IP_PKTINFO
	if u.sender.v6 {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO // this reports IPv4 addresses, too
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, level, option, 1))
}

// Close closes the socket.
func (u *UDP) Close() error {
	u.conn.Close() // closing twice is fine
	return nil
}

// unmap returns an IPv4 address that came through an IPv6 socket in its usual form.
func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

var _ link.Link = (*UDP)(nil)

// reusePort lets several sockets of one user listen on the same port: the kernel distributes
// the peers among them. It is meant as the Control of a net.ListenConfig.
func reusePort(_, _ string, c syscall.RawConn) error {
	var err error
	failed := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
	return errors.Join(failed, os.NewSyscallError("setsockopt", err))
}
