// Package privsep connects two processes, one of which has privileges and one has none
// (privilege separation, as in Provos, "Preventing Privilege Escalation", 2003). The one
// without privileges sends a handful of typed requests; an answer may carry open
// descriptors (SCM_RIGHTS, unix(7)). Introduced in step 8.
//
// A message is JSON in one packet of a Unix socket (SOCK_SEQPACKET). Everything from the
// process without privileges is hostile until it is parsed: the length of messages is
// bounded, and descriptors or unknown fields are errors.
package privsep

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxMessage     = 160 << 10 // bytes; the largest message has settings, whose file has at most 64 KB
	maxDescriptors = 64        // in one message
)

// A Conn is one end of the connection. Tell may be called from any goroutine.
type Conn struct {
	unix   *net.UnixConn
	ctx    context.Context // ends when the Conn is closed
	cancel context.CancelFunc
	buf    []byte
	oob    []byte

	mu sync.Mutex // held while a message is sent
}

// New makes a Conn of a socket, which the Conn then owns.
func New(c *net.UnixConn) *Conn {
	c.SetWriteBuffer(2 * maxMessage) // best effort: if it fails, sending a long message fails
	ctx, cancel := context.WithCancel(context.Background())
	return &Conn{
		unix: c, ctx: ctx, cancel: cancel,
		buf: make([]byte, maxMessage), oob: make([]byte, unix.CmsgSpace(4*maxDescriptors)),
	}
}

// Pair returns a Conn, and the other end for a process that is about to be started.
func Pair() (*Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	own, other := os.NewFile(uintptr(fds[0]), "worker"), os.NewFile(uintptr(fds[1]), "keeper")
	c, err := From(own)
	if err != nil {
		return nil, nil, errors.Join(err, other.Close())
	}
	return c, other, nil
}

// From makes a Conn of a descriptor that the parent process has passed on, and closes the
// file.
func From(f *os.File) (*Conn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("the descriptor is not a Unix socket")
	}
	return New(u), nil
}

// Close closes the Conn. Receiving at either end then fails.
func (c *Conn) Close() error {
	c.cancel()
	return c.unix.Close()
}

// Context returns a context that ends when this end is closed. Serve closes it when the
// other end is closed.
func (c *Conn) Context() context.Context { return c.ctx }

// send sends one message, with copies of the descriptors: the caller still owns them.
func (c *Conn) send(message any, fds []int) error {
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if len(text) > maxMessage || len(fds) > maxDescriptors {
		return fmt.Errorf("a message of %d bytes and %d descriptors is too long", len(text), len(fds))
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unix.SetWriteDeadline(time.Now().Add(patience))
	_, _, err = c.unix.WriteMsgUnix(text, rights, nil)
	return err
}

// receive waits for the next message, and returns the descriptors that came with it, which
// the caller must close.
func (c *Conn) receive(message any) (fds []int, err error) {
	n, rightsLen, flags, _, err := c.unix.ReadMsgUnix(c.buf, c.oob)
	if err != nil {
		return nil, err
	}
	fds, err = rights(c.oob[:rightsLen])
	switch {
	case err != nil:
	case n == 0:
		err = io.EOF
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		err = errors.New("a message is too long")
	default:
		err = strict(c.buf[:n], message)
	}
	if err != nil {
		discard(fds)
		return nil, err
	}
	return fds, nil
}

// rights returns the descriptors in control messages.
func rights(oob []byte) (fds []int, err error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	for i := range messages {
		list, err2 := unix.ParseUnixRights(&messages[i])
		fds, err = append(fds, list...), errors.Join(err, err2)
	}
	return fds, err
}

// strict parses JSON, and returns an error for a field that the type does not have.
func strict(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("more than one message at once")
	}
	return nil
}

// discard closes descriptors without waiting. Closing some can take for ever: a socket that
// waits until its data has been read (SO_LINGER), or a file in the sender's own file system.
func discard(fds []int) {
	for _, fd := range fds {
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, new(unix.Linger))
	}
	go CloseAll(fds)
}

// CloseAll closes descriptors.
func CloseAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
