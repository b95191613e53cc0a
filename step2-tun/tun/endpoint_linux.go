package tun

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// deleted reports whether the interface behind the descriptor is gone. The error of
// a read is no reliable sign: it is EBADFD, or "not pollable" if Go's poller notices
// first. So this asks the driver.
func deleted(file io.ReadWriteCloser) bool {
	raw, err := file.(*os.File).SyscallConn()
	if err != nil {
		return false // it is closed
	}
	var answer error
	err = raw.Control(func(fd uintptr) {
		var ifreq unix.Ifreq
		answer = unix.IoctlIfreq(int(fd), unix.TUNGETIFF, &ifreq)
	})
	return err == nil && answer == unix.EBADFD
}
