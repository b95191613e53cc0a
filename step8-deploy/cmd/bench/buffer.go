package main

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// growBuffer gives the sink room for 8 MB that it gets to later, so that a loss
// is the tunnel's.
func growBuffer(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	})
	return errors.Join(err, failed)
}
