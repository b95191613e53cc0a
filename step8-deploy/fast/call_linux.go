package fast

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// call makes a system call on a descriptor that does not block, with two more
// arguments, and returns what it returns.
//
// Go's scheduler does not hear of it. It would expect the call to block, and wake a
// thread to look after those that do: after each pause, that costs more than the
// call. A thread that waits does so in Go's poller, not here.
func call(trap, fd uintptr, p unsafe.Pointer, n uintptr) (int, unix.Errno) {
	for {
		r, _, errno := unix.RawSyscall(trap, fd, uintptr(p), n)
		if errno != unix.EINTR {
			return int(r), errno
		}
	}
}
