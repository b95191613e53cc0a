package supervise

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// askFor bounds the time that one nameserver has to answer.
const askFor = 3 * time.Second

// A Resolver looks names up below the tunnel: it asks the nameservers that the
// host had before the tunnel took its DNS over. The host's own way to look up
// names leads into the tunnel, which is not there while it is looked for.
//
// The file /etc/hosts is believed. A nameserver on this host itself, such as
// systemd-resolved at 127.0.0.53, must not be one that asks through the tunnel.
type Resolver struct {
	// Nameservers are asked in this order, the next one when one does not answer.
	Nameservers []netip.AddrPort

	// Control marks a socket as one that stays outside of the tunnel, as that of
	// net.Dialer does. It may be nil.
	Control func(network, address string, c syscall.RawConn) error

	// Pass, if set, is told of each query before it is sent, "udp" or "tcp", from
	// a port of this host to a nameserver, and returns what is to be done after.
	Pass func(network string, from uint16, nameserver netip.Addr) (undo func() error, err error)
}

// Lookup returns the addresses of a name. It may be called from any goroutine.
func (r *Resolver) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	if len(r.Nameservers) == 0 {
		return nil, errors.New("no nameserver is known")
	}
	var failed []string
	for _, ns := range r.Nameservers {
		addrs, err := r.ask(ctx, ns, name)
		if err == nil {
			return addrs, nil
		}
		why := err.Error()
		if e, ok := errors.AsType[*net.DNSError](err); ok {
			why = e.Err // without the server that it names: it means the one of /etc/resolv.conf
			if e.IsNotFound {
				return nil, fmt.Errorf("%v says that there is no such name", ns.Addr())
			}
			if e.IsTimeout {
				why = "no answer"
			}
		}
		failed = append(failed, fmt.Sprintf("%v: %s", ns.Addr(), why))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.New(strings.Join(failed, "; "))
}

// ask asks one nameserver.
func (r *Resolver) ask(ctx context.Context, ns netip.AddrPort, name string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	resolver := net.Resolver{
		PreferGo: true,
		// The address is one of /etc/resolv.conf, which is the tunnel's by now.
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) { return r.dial(ctx, network, ns) },
	}
	// The dot at the end: the name is whole, nothing is to be put behind it.
	return resolver.LookupNetIP(ctx, "ip", name+".")
}

// Ports for Pass are taken from these, at random. When one is in use by chance,
// another one is tried.
const (
	firstPort = 20000
	ports     = 40000
	portTries = 5
)

// dial opens a socket for one query.
func (r *Resolver) dial(ctx context.Context, network string, ns netip.AddrPort) (conn net.Conn, err error) {
	d := net.Dialer{Control: r.Control}
	if r.Pass == nil {
		return d.DialContext(ctx, network, ns.String())
	}
	tcp := strings.HasPrefix(network, "tcp")
	for range portTries {
		from := uint16(firstPort + rand.N(ports))
		d.LocalAddr = &net.UDPAddr{Port: int(from)}
		if tcp {
			d.LocalAddr = &net.TCPAddr{Port: int(from)}
		}
		if conn, err = r.dialFrom(ctx, d, network, from, ns); !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return conn, err
}

func (r *Resolver) dialFrom(ctx context.Context, d net.Dialer, network string, from uint16, ns netip.AddrPort) (net.Conn, error) {
	undo, err := r.Pass(network[:3], from, ns.Addr())
	if err != nil {
		return nil, err
	}
	conn, err := d.DialContext(ctx, network, ns.String())
	if err != nil {
		return nil, errors.Join(err, undo())
	}
	if udp, ok := conn.(*net.UDPConn); ok {
		return &passedUDP{udp, undo}, nil // still a net.PacketConn: net.Resolver asks
	}
	return &passed{conn, undo}, nil
}

// passed and passedUDP are sockets that Pass was told of.
type passed struct {
	net.Conn
	undo func() error
}

func (c *passed) Close() error { return errors.Join(c.Conn.Close(), c.undo()) }

type passedUDP struct {
	*net.UDPConn
	undo func() error
}

func (c *passedUDP) Close() error { return errors.Join(c.UDPConn.Close(), c.undo()) }
