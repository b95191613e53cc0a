package transport

import (
	"errors"
	"net"
	"syscall"
	"time"

	"stepvpn/shared/link"
)

// Passing reports whether a socket can still be used after err, an error of reading or
// writing; if so, it counts one packet in drops. (Passing and Rest are exported for the
// faster sockets of step 8.)
//
// A socket can be used after every error except that it is closed. Some errors are
// about a packet that this host did not accept. Others are caused by an ICMP message
// (RFC 1122, section 4.1.3.3), which anybody who guesses two port numbers can forge;
// so only errors that the socket itself causes, by being closed, are final.
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

// Rest pauses after a passing fault of ReadBurst, the nth one in a row. The first 16
// cause no pause, for many can arrive at once, such as the errors that a burst of
// packets causes; each further one causes a pause of 1 ms. So a socket that only fails
// does not use up a processor, and one that also has packets loses none: they wait in
// its queue.
func Rest(n int) {
	if n > faultsAtOnce {
		time.Sleep(faultPause)
	}
}
