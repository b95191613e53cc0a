package fast

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// call makes a system call on a non-blocking descriptor, with two more arguments, and
// returns its results.
//
// It bypasses Go's scheduler, which would expect the call to block, and wake a thread that
// looks after blocked calls: after each pause, that costs more than the call itself. Waiting
// is left to Go's poller, and never happens here.
func call(trap, fd uintptr, p unsafe.Pointer, n uintptr) (int, unix.Errno) {
	for {
		r, _, errno := unix.RawSyscall(trap, fd, uintptr(p), n)
		if errno != unix.EINTR {
			return int(r), errno
		}
	}
}
