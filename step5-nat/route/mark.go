package route

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/hostnet"
)

// Mark marks a socket as the tunnel's own, so that Default does not route its packets
// into the tunnel. It is meant as the Control of a transport (as in net.Dialer), called
// before the socket is connected. It needs root or CAP_NET_ADMIN, and is safe for
// concurrent use.
func Mark(_, _ string, socket syscall.RawConn) error {
	var err error
	control := func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, FwMark)
	}
	if err := socket.Control(control); err != nil {
		return err
	}
	if err != nil {
		return hostnet.NeedsRoot(fmt.Errorf("marking the socket to the server: %w", err))
	}
	return nil
}
