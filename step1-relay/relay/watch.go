package relay

import (
	"io"
	"net"
	"syscall"
)

// watch blocks until conn has ended, and returns the error that says how; it never returns
// nil. The function sign (leftWhileWaiting or wasReset) looks at the socket once, and
// returns nil while conn lives. watch takes no byte out of the connection: what arrives
// meanwhile stays in the kernel's buffer, which is bounded, until the connection has a
// partner. The read deadline and Close end watch, too, with the error that a Read would
// return.
func watch(conn *net.TCPConn, sign func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var end error
	// Read calls the function now, and again each time that something happens to the
	// socket, until it returns true. Between two calls it sleeps, even if there are
	// unread bytes.
	err = raw.Read(func(fd uintptr) bool {
		end = sign(int(fd))
		return end != nil
	})
	if err != nil {
		return err
	}
	return end
}

// check is watch without waiting: it looks once, and returns nil if conn still lives.
func check(conn *net.TCPConn, sign func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var end error
	if err := raw.Control(func(fd uintptr) { end = sign(int(fd)) }); err != nil {
		return err
	}
	return end
}

// leftWhileWaiting returns an error if the client of a connection that nothing has
// been read from has left: it reset the connection, or closed it without having sent
// anything (io.EOF).
//
// TCP says "I have finished sending" and "I am gone" with the same FIN. A client that
// sent bytes before its FIN may still wait for an answer, and in any case those bytes
// are for its partner. So such a connection stays.
func leftWhileWaiting(fd int) error {
	var b [1]byte
	n, _, err := syscall.Recvfrom(fd, b[:], syscall.MSG_PEEK) // look, don't take
	switch {
	case err == syscall.EAGAIN:
		return nil // nothing to read yet
	case err != nil:
		return err
	case n == 0:
		return io.EOF
	}
	return wasReset(fd) // bytes that are still unread hide a reset from Recvfrom
}

// wasReset returns the error that has ended the connection, if any.
func wasReset(fd int) error {
	errno, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ERROR)
	if err == nil && errno != 0 {
		err = syscall.Errno(errno)
	}
	return err
}
