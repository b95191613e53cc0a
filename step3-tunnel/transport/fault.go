package transport

import (
	"errors"
	"net"
	"syscall"
	"time"

	"stepvpn/shared/link"
)

// Passing says whether a socket goes on after err, and counts a packet then.
//
// It does after any error, but if it is closed. Some are about a packet that this host
// did not take. Others come of an ICMP message (RFC 1122, section 4.1.3.3), which
// anybody can forge who guesses two port numbers; so no list of errors would be safe.
func Passing(err error, drops *link.Drops) bool {
	switch {
	case errors.Is(err, net.ErrClosed), errors.Is(err, syscall.EBADF), errors.Is(err, syscall.ENOTSOCK):
		return false
	case errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.EAGAIN):
		drops.Add(link.QueueFull)
	case errors.Is(err, syscall.EMSGSIZE):
		drops.Add(link.TooBig)
	default:
		drops.Add(link.Unreachable)
	}
	return true
}

const (
	faultsAtOnce = 16
	faultPause   = time.Millisecond
)

// Rest is what a ReadBurst does after a passing fault, the nth one in a row. Some
// come at once, such as the answers to a burst of packets; from then on it waits a
// little. So a socket that does nothing but fail takes no processor for itself, and
// one that has packets, too, loses none: they wait in its queue.
func Rest(n int) {
	if n > faultsAtOnce {
		time.Sleep(faultPause)
	}
}
