package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
)

// This file opens the resolver's sockets: only on the tunnel's addresses and device, and beside the tunnel's own
// socket on port 53 if need be (Share).

// receiveBuffer holds the queries that arrive while this process does not run, in bytes. The kernel's own 200 KB are full
// after some 270.
const receiveBuffer = 1 << 20

// Sockets are those of one address: so an answer leaves with the address that was asked.
type Sockets struct {
	UDP *net.UDPConn
	TCP *net.TCPListener
}

// Listen makes the sockets of each address. If it fails, nothing is left behind.
func Listen(cfg Config) (list []Sockets, err error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: cfg.control}
	config.SetMultipathTCP(false)
	for _, addr := range cfg.Addrs {
		at := netip.AddrPortFrom(addr.Unmap(), cfg.Port).String()
		udp, err := config.ListenPacket(context.Background(), "udp", at)
		if err != nil {
			closeAll(list)
			return nil, cfg.explain(err, "udp", addr)
		}
		tcp, err := config.Listen(context.Background(), "tcp", at)
		if err != nil {
			udp.Close()
			closeAll(list)
			return nil, cfg.explain(err, "tcp", addr)
		}
		list = append(list, Sockets{UDP: udp.(*net.UDPConn), TCP: tcp.(*net.TCPListener)})
	}
	return list, nil
}

// Check returns the error that Listen would end with, also while the addresses and the device are not there yet. It
// leaves nothing behind.
func Check(cfg Config) error {
	cfg.trial = true
	list, err := Listen(cfg)
	closeAll(list)
	return err
}

func closeAll(list []Sockets) {
	for _, s := range list {
		s.UDP.Close()
		s.TCP.Close()
	}
}

// control sets the options of a socket before it is bound.
func (c *Config) control(network, _ string, socket syscall.RawConn) error {
	var err error
	err2 := socket.Control(func(fd uintptr) {
		switch {
		case c.trial:
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1) // of IPv6, too
		case c.Device != "":
			err = unix.BindToDevice(int(fd), c.Device)
		}
		if err == nil && c.Port == DefaultPort { // see Share
			err = share(int(fd))
		}
		// Beyond the limit for everybody only as root. A smaller one is no error. TCP sizes its own.
		if strings.HasPrefix(network, "udp") && unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
		}
	})
	return errors.Join(err2, err)
}

// Share is for a tunnel's own socket that listens on every address, on the port of names: it lets the sockets of this
// package stand beside it. The kernel gives them what is for their address, and the other one the rest. It is meant as the
// Control of a transport, and does nothing to sockets that are in nobody's way.
func Share(_, address string, c syscall.RawConn) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port != strconv.Itoa(DefaultPort) || host != "" && !net.ParseIP(host).IsUnspecified() {
		return err
	}
	failed := c.Control(func(fd uintptr) { err = share(int(fd)) })
	return errors.Join(failed, err)
}

// share lets several sockets of one user have one port.
func share(fd int) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
}

// explain says in one line why there is no socket, and what to do.
func (c *Config) explain(err error, network string, addr netip.Addr) error {
	where := fmt.Sprintf("resolver: %v, %s port %d", addr, network, c.Port)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return app.Hint(fmt.Errorf("%s: another program has it", where),
			"'ss -lnp sport = %d' shows which. One that listens on every address, such as dnsmasq, unbound or named, must be told which to use (dnsmasq: bind-interfaces).", c.Port)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return app.Hint(fmt.Errorf("%s: this host does not have the address", where), "'ip addr' lists those that it has.")
	case errors.Is(err, unix.ENODEV):
		return app.Hint(fmt.Errorf("%s: there is no interface %q on this host", where, c.Device), "'ip link' lists the interfaces.")
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return app.Hint(fmt.Errorf("%s: not permitted", where), "Run this as root: ports below 1024 are not for everybody.")
	}
	return fmt.Errorf("%s: %w", where, err)
}
