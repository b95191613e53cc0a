package fast

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"syscall"

	"stepvpn/shared/app"
	"stepvpn/shared/link"
	"stepvpn/step2-tun/tun"
	"stepvpn/step3-tunnel/transport"
	"stepvpn/step6-dns/resolver"
)

// This file opens a tunnel's ends, the fast ones or the simple ones.

// Device returns the function that opens a client's TUN device: with offloads, or with one
// packet at a time.
func Device(offloads bool) func(tun.Config) (*tun.Device, error) {
	if !offloads {
		return tun.Open
	}
	return func(c tun.Config) (*tun.Device, error) {
		dev, _, err := Open(c, TUNOptions{})
		return dev, err
	}
}

// Queues opens a server's TUN device with n queues, which share its packets. Each is a Link
// of its own; to close the device, close all of them. If n is more than 1, the device is the
// fast one even without offloads, because only that has several queues.
func Queues(c tun.Config, n int, offloads bool) (dev *tun.Device, queues []link.Link, err error) {
	if !offloads && n == 1 {
		dev, err := tun.Open(c)
		return dev, []link.Link{dev}, err
	}
	return Open(c, TUNOptions{Queues: n, Router: true, NoTSO: !offloads, NoGRO: !offloads})
}

// Open opens a TUN device with fast queues. dev uses the first of them.
func Open(c tun.Config, o TUNOptions) (dev *tun.Device, queues []link.Link, err error) {
	if c.Persist {
		return nil, nil, app.Usage("a device with offloads cannot be persistent")
	}
	if o.Drops = c.Drops; o.Drops == nil {
		o.Drops = new(link.Drops)
	}
	dev, err = tun.OpenBy(func(c tun.Config) (link.Link, string, error) {
		list, name, err := openTUN(c.Name, o)
		if err != nil {
			return nil, "", err
		}
		for _, q := range list {
			queues = append(queues, q)
		}
		return list[0], name, nil
	}, c)
	if err != nil {
		for _, q := range queues {
			q.Close()
		}
		return nil, nil, err
	}
	return dev, queues, nil
}

// Attach makes a TUN device, and returns its name and the descriptors of its n queues, for
// NewTUN in another process: this process reads no packets. The device goes when the last
// copy of these descriptors is closed.
func Attach(c tun.Config, n int, router bool) (name string, fds []int, err error) {
	dev, err := tun.OpenBy(func(c tun.Config) (link.Link, string, error) {
		var err error
		fds, name, err = attachQueues(c.Name, n, router)
		return held(fds), name, err
	}, c)
	if err != nil {
		return "", nil, err
	}
	return dev.Name(), fds, nil
}

// held is a device that this process does not read from.
type held []int

func (held) ReadBurst(*link.Burst) error  { return errors.ErrUnsupported }
func (held) WriteBurst(*link.Burst) error { return errors.ErrUnsupported }
func (h held) Close() error               { closeFDs(h); return nil }

// Dial makes a client's end of the transport, over network ("udp" or "tcp").
func Dial(network string, server netip.AddrPort, offloads bool, o transport.Options) (transport.Conn, error) {
	conn, err := transport.Dial(network, server.String(), o)
	if err != nil {
		return nil, err
	}
	return Carry(conn, UDPOptions{Drops: o.Drops, NoGSO: !offloads, NoGRO: !offloads})
}

// Listen makes n ends of a server's transport on an address: see Bind.
func Listen(network string, at netip.AddrPort, n int, offloads bool, o transport.Options) (conns []transport.Conn, err error) {
	sockets, err := Bind(network, at, n)
	if err != nil {
		return nil, err
	}
	return Serve(sockets, offloads, o)
}

// Bind makes the sockets for n ends of a server's transport on an address. Over UDP, the
// kernel distributes the clients among them; over TCP there is always just one, which has a
// goroutine for each client anyway.
func Bind(network string, at netip.AddrPort, n int) (sockets []syscall.Conn, err error) {
	control := resolver.Share
	if network == transport.TCP {
		n = 1
	} else if n > 1 {
		control = both(reusePort, resolver.Share)
	}
	for range n {
		socket, err := transport.Bind(network, listenAddr(at), control)
		if err != nil {
			for _, s := range sockets {
				s.(io.Closer).Close()
			}
			return nil, err
		}
		sockets = append(sockets, socket)
	}
	return sockets, nil
}

// Serve makes the ends out of the sockets of one Bind, which the ends then own.
func Serve(sockets []syscall.Conn, offloads bool, o transport.Options) (conns []transport.Conn, err error) {
	udp := UDPOptions{Drops: o.Drops, NoGSO: !offloads, NoGRO: !offloads, sources: newSources()}
	for i, socket := range sockets {
		conn, err := Carry(transport.Serve(socket, o), udp)
		if err != nil {
			for _, c := range conns {
				c.Close()
			}
			for _, s := range sockets[i+1:] {
				s.(io.Closer).Close()
			}
			return nil, err
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

// Carry makes a UDP out of a UDP socket of package transport, which the UDP then owns. As a
// UDP also answers from the address that was asked, this is useful even without offloads.
// Carry returns a TCP transport unchanged.
func Carry(conn transport.Conn, o UDPOptions) (transport.Conn, error) {
	socket, ok := conn.(Socket)
	if !ok {
		return conn, nil
	}
	udp, err := NewUDP(socket, o)
	if err != nil {
		return nil, err
	}
	return &carried{udp, conn}, nil
}

// carried is a UDP, with the address and MTU of its socket.
type carried struct {
	*UDP
	conn transport.Conn
}

func (c *carried) Addr() netip.AddrPort { return c.conn.Addr() }
func (c *carried) MTU() transport.MTU   { return c.conn.MTU() }

// Spread returns how many sockets, and queues of the device, share the work: n, or if n is 0,
// a number that suits this host. That is one for every two processors: one is busy with the
// queue's packets, and the other with the kernel's work for them.
func Spread(n int) int {
	const most = 4
	if n > 0 {
		return n
	}
	return min(max(runtime.NumCPU()/2, 1), most)
}

// listenAddr returns the address as text. It writes the unspecified IPv6 address so that it
// stands for IPv4, too.
func listenAddr(at netip.AddrPort) string {
	if at.Addr() == netip.IPv6Unspecified() {
		return net.JoinHostPort("", at.String()[len("[::]:"):])
	}
	return at.String()
}

type control = func(network, address string, c syscall.RawConn) error

func both(first, second control) control {
	if first == nil {
		return second
	}
	return func(network, address string, c syscall.RawConn) error {
		if err := first(network, address, c); err != nil {
			return err
		}
		return second(network, address, c)
	}
}
