package fast

import (
	"log/slog"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file lets a client's socket survive a move to another network.
//
// A client's socket is connected, so the kernel drops what others send. But the socket also
// keeps the source address that it had when it was connected. When the host moves to another
// network, that address goes, and nothing can be sent until the socket is connected again.

// addressGone reports whether an error of a connected socket says that its address is gone.
func addressGone(err error) bool {
	switch err {
	case unix.EINVAL, unix.EADDRNOTAVAIL, unix.ENETUNREACH: // kernels differ
		return true
	case unix.EDESTADDRREQ: // the last attempt to reconnect has failed
		return true
	}
	return false
}

// reconnect connects the socket to its server again, from an address and a port that the
// kernel chooses. If that fails, the next packet tries again.
func (s *udpSender) reconnect() {
	var nowhere, server sockaddr // the first has family 0, AF_UNSPEC
	length := server.set(s.udp.server, s.v6)
	s.raw.Control(func(fd uintptr) { // an error means that the socket is closed
		before := localHost(fd)
		connect(fd, &nowhere, length)
		connect(fd, &server, length)
		if now := localHost(fd); now != before && !now.IsUnspecified() {
			slog.Info("this host has another address", "address", now, "server", s.udp.server)
		}
	})
}

// localHost returns the address that a socket sends from.
func localHost(fd uintptr) netip.Addr {
	local, err := unix.Getsockname(int(fd))
	if err != nil {
		return netip.IPv6Unspecified()
	}
	switch local := local.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(local.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(local.Addr).Unmap()
	}
	return netip.IPv6Unspecified()
}

func connect(fd uintptr, to *sockaddr, length uint32) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(to)), uintptr(length))
	return errno
}
