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

// Device returns how to open a client's TUN device: with offloads, or one packet at
// a time.
func Device(offloads bool) func(tun.Config) (*tun.Device, error) {
	if !offloads {
		return tun.Open
	}
	return func(c tun.Config) (*tun.Device, error) {
		dev, _, err := Open(c, TUNOptions{})
		return dev, err
	}
}

// Queues opens a server's TUN device with n queues, which share its packets. Each is
// a Link of its own; to close the device, close all. Without offloads, too, the
// device is the fast one if n is more than 1: only that has queues.
func Queues(c tun.Config, n int, offloads bool) (dev *tun.Device, queues []link.Link, err error) {
	if !offloads && n == 1 {
		dev, err := tun.Open(c)
		return dev, []link.Link{dev}, err
	}
	return Open(c, TUNOptions{Queues: n, Router: true, NoTSO: !offloads, NoGRO: !offloads})
}

// Open opens a TUN device whose queues are the fast ones. The device is the first
// of them.
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

// Attach makes a TUN device, and returns its name and the descriptors of its n queues,
// for NewTUN in another process: this one reads no packet, and does not wait for any. The
// device ends with the last copy of them.
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

// held is a device that nobody reads from here.
type held []int

func (held) ReadBurst(*link.Burst) error  { return errors.ErrUnsupported }
func (held) WriteBurst(*link.Burst) error { return errors.ErrUnsupported }
func (h held) Close() error               { closeFDs(h); return nil }

// Dial makes a client's end of the transport.
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

// Bind makes the sockets of n ends of a server's transport on an address. Over UDP the
// kernel spreads the clients over them; over TCP there is always one, as it has a
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

// Serve makes the ends of sockets of one Bind, which are its own from then on.
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

// Carry has a UDP socket of package transport carried by a UDP, which owns it then.
// That also answers from the address that was asked, so it is of use without
// offloads, too. Whatever goes over TCP stays as it is.
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

// carried is a UDP with what is known of its socket.
type carried struct {
	*UDP
	conn transport.Conn
}

func (c *carried) Addr() netip.AddrPort { return c.conn.Addr() }
func (c *carried) MTU() transport.MTU   { return c.conn.MTU() }

// Spread returns how many sockets, and queues of the device, share the work: n, or
// for 0 what fits this host. One for two processors keeps both busy: one with the
// packets of the queue, the other with what the kernel does for them.
func Spread(n int) int {
	const most = 4
	if n > 0 {
		return n
	}
	return min(max(runtime.NumCPU()/2, 1), most)
}

// listenAddr writes the unspecified IPv6 address as one that stands for all.
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
