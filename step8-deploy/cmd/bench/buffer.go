package main

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// growBuffer gives the sink's socket a buffer of 8 MB, so that packets are lost only in the
// tunnel.
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
