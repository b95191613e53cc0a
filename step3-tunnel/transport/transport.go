// Package transport carries packets between two hosts, in UDP datagrams or in a
// TCP stream. Introduced in step 3.
//
// Over UDP a packet is a datagram: RFC 768 keeps its boundaries, and what the
// network loses stays lost, as on any other link. Over TCP, each packet is preceded by
// its length, two bytes, big-endian: a stream has no packet boundaries of its own.
//
// Dial makes the client's end, Listen the server's. Both are Links, so the layer on
// top (a tunnel, later a session) sees bursts of packets and does not know whether UDP
// or TCP is below.
//
//	udp.go, frame.go                     packets as datagrams, packets in a stream
//	tcpclient.go, tcpserver.go,
//	tcpconn.go                           the two ends over TCP, and one connection
//	tcptable.go, tcpoutbox.go            which connections a server keeps, and what waits for them
//	follow.go                            which client a server sends to
//	mtu.go, pathmtu.go                   the longest packet that fits, and the path's part in that
//	address.go, errors.go                addresses as they are typed, and what becomes of errors
package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"stepvpn/shared/app"
	"stepvpn/shared/link"
)

// A Conn is one end of the transport.
//
// ReadBurst sets the burst's Addr to the sender. On a server's end WriteBurst
// sends to the burst's Addr; a client's end has only one place to send to.
//
// An end over UDP also implements syscall.Conn, which gives access to its socket, for
// step 8.
type Conn interface {
	link.Link
	// Addr returns the server's address: where a client's end sends to, or
	// where a server's end listens. Step 5 needs it for its routes.
	Addr() netip.AddrPort
	// MTU returns the size of the largest packet that the end carries in one piece.
	MTU() MTU
}

// Options are what Dial and Listen need besides the address.
type Options struct {
	// Drops counts the packets that could not be carried. Required.
	Drops *link.Drops
	// The others are for later steps.

	// MaxConns is how many TCP connections a server holds, besides those of the peers
	// that it was told to keep (see link.PeerKeeper). A smaller number than
	// DefaultMaxConns stands for DefaultMaxConns. No address gets more than half of them.
	// Step 7, with its many clients, sets it.
	MaxConns int
	// Control, if set, is called with each socket before it is bound or
	// connected, as net.Dialer's Control is. Step 5 marks the client's socket with it.
	Control func(network, address string, c syscall.RawConn) error
	// Dial, if set, makes the sockets of a client's end instead of net.Dialer's
	// DialContext. The sizes of their buffers are left unchanged. In step 8 another
	// process makes them.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// dial makes a client's socket.
func (o *Options) dial(ctx context.Context, network string, server netip.AddrPort) (net.Conn, error) {
	if o.Dial != nil {
		return o.Dial(ctx, network, server.String())
	}
	d := net.Dialer{Control: o.Control}
	return d.DialContext(ctx, network, server.String())
}

// Networks that Dial and Listen know.
const (
	UDP = "udp"
	TCP = "tcp"
)

// Dial makes the client's end. addr is the server, "host:port" with an IPv4 or
// IPv6 address or a name. The server need not be running yet: over UDP nothing is
// sent, and over TCP the end connects when it can, and again whenever the connection
// is lost.
func Dial(network, addr string, o Options) (Conn, error) {
	server, err := resolve(addr)
	if err != nil {
		return nil, err
	}
	switch network {
	case UDP:
		return dialUDP(server, o)
	case TCP:
		return dialTCP(server, o)
	}
	return nil, unknownNetwork(network)
}

// Listen makes the server's end on addr, "host:port". Without a host it listens
// on every address, IPv4 and IPv6.
func Listen(network, addr string, o Options) (Conn, error) {
	socket, err := Bind(network, addr, o.Control)
	if err != nil {
		return nil, err
	}
	return Serve(socket, o), nil
}

// Bind makes the socket of a server's end: a *net.UDPConn or a *net.TCPListener. control
// is the same as Options.Control. Listen calls Bind and then Serve; in step 8 they are
// called in two processes, of which only the first has privileges.
func Bind(network, addr string, control func(network, address string, c syscall.RawConn) error) (socket syscall.Conn, err error) {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, app.Usage("listen address %q is not HOST:PORT, such as :5555 or 203.0.113.10:5555", addr)
	}
	config := net.ListenConfig{Control: control}
	switch network {
	case UDP:
		var conn net.PacketConn
		if conn, err = config.ListenPacket(context.Background(), network, addr); err == nil {
			enlargeBuffers(conn.(*net.UDPConn))
			return conn.(*net.UDPConn), nil
		}
	case TCP:
		var listener net.Listener
		if listener, err = config.Listen(context.Background(), network, addr); err == nil {
			return listener.(*net.TCPListener), nil
		}
	default:
		return nil, unknownNetwork(network)
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		err = app.Hint(err, "another program uses %s port %s: stop it, or choose another port with -listen", network, addr)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		err = app.Hint(err, "this host does not have that address: 'ip address' lists the addresses that it has")
	}
	return nil, err
}

// Serve makes a server's end of a socket that Bind has returned. The end owns the
// socket from then on.
func Serve(socket syscall.Conn, o Options) Conn {
	if conn, ok := socket.(*net.UDPConn); ok {
		return serveUDP(conn, o)
	}
	return serveTCP(socket.(*net.TCPListener), o)
}

// ServerMTU returns the size of the largest packet that fits in one piece through a
// socket that Bind has returned. It is exported for step 8's first process.
func ServerMTU(socket syscall.Conn) MTU {
	if conn, ok := socket.(*net.UDPConn); ok {
		return listenMTU(localAddr(conn.LocalAddr())).lessUDP()
	}
	return listenMTU(localAddr(socket.(*net.TCPListener).Addr())).lessTCP()
}

func unknownNetwork(network string) error {
	return app.Usage("transport %q is unknown: use %s or %s", network, UDP, TCP)
}
