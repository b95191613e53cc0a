// Package ends chooses the two ends of a tunnel: the fast ones (package fast), or
// the simple ones that steps 2 and 3 made. Introduced in step 8.
//
// Whatever lies between the ends does not know which they are.
package ends

import (
	"net"
	"net/netip"
	"runtime"
	"syscall"

	"stepvpn/shared/fast"
	"stepvpn/shared/link"
	"stepvpn/step2-tun/tun"
	"stepvpn/step3-tunnel/transport"
	"stepvpn/step6-dns/resolver"
)

// Device returns how to open a client's TUN device: with offloads, or one packet at
// a time.
func Device(offloads bool) func(tun.Config) (*tun.Device, error) {
	return func(c tun.Config) (*tun.Device, error) {
		dev, _, err := open(c, fast.TUNOptions{Queues: 1}, offloads)
		return dev, err
	}
}

// Queues opens a server's TUN device with n queues, which share its packets. Each is
// a Link of its own; to close the device, close all. Without offloads, too, the
// device is the fast one if n is more than 1: only that has queues.
func Queues(c tun.Config, n int, offloads bool) (dev *tun.Device, queues []link.Link, err error) {
	return open(c, fast.TUNOptions{Queues: n, Router: true}, offloads)
}

func open(c tun.Config, o fast.TUNOptions, offloads bool) (dev *tun.Device, queues []link.Link, err error) {
	if !offloads && o.Queues == 1 {
		dev, err := tun.Open(c)
		return dev, []link.Link{dev}, err
	}
	c.Make = func(name string, passing func(error) bool) (link.Link, string, error) {
		o.Passing, o.Drops, o.NoTSO, o.NoJoin = passing, c.Drops, !offloads, !offloads
		list, name, err := fast.OpenTUN(name, o)
		if err != nil {
			return nil, "", err
		}
		for _, q := range list {
			queues = append(queues, q)
		}
		return list[0], name, nil
	}
	dev, err = tun.Open(c)
	if err != nil {
		return nil, nil, err
	}
	return dev, queues, nil
}

// Dial makes a client's end of the transport.
func Dial(network string, server netip.AddrPort, offloads bool, o transport.Options) (transport.Conn, error) {
	return transport.Dial(network, server.String(), with(offloads, nil, o))
}

// Listen makes n ends of a server's transport on an address. Over UDP the kernel
// spreads the clients over them; over TCP there is always one, as it has a
// goroutine for each client anyway.
func Listen(network string, at netip.AddrPort, n int, offloads bool, o transport.Options) (conns []transport.Conn, err error) {
	if network == transport.TCP {
		n = 1
	}
	sources := fast.NewSources()
	o = with(offloads, sources, o)
	o.Control = both(o.Control, resolver.Share)
	if network == transport.UDP && n > 1 {
		o.Control = both(o.Control, fast.ReusePort)
	}
	for range n {
		conn, err := transport.Listen(network, listenAddr(at), o)
		if err != nil {
			for _, c := range conns {
				c.Close()
			}
			return nil, err
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

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

// with has UDP sockets carried by the fast ends. Those also answer from the
// address that was asked, so they are used without offloads, too.
func with(offloads bool, sources *fast.Sources, o transport.Options) transport.Options {
	o.UDP = func(socket *net.UDPConn, passing func(error) bool) (link.Link, error) {
		return fast.NewUDP(socket, fast.UDPOptions{
			Passing: passing, Drops: o.Drops, Sources: sources, NoGSO: !offloads, NoGRO: !offloads,
		})
	}
	return o
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
