// Package privsep lets two processes talk of which one has privileges and the other has
// none (privilege separation, as in Provos, "Preventing Privilege Escalation", 2003).
// The one without asks, by a handful of typed requests; the answer may bring open
// descriptors along (SCM_RIGHTS, unix(7)). Introduced in step 8.
//
// A message is one packet of a Unix socket (SOCK_SEQPACKET), and JSON. What comes from
// the process without privileges is hostile until it is parsed: messages are bounded,
// descriptors from there, and a field that is not known, are errors.
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
	maxMessage     = 160 << 10 // bytes; the largest are settings, whose file has 64 KB at most
	maxDescriptors = 64        // of one message
)

// A Conn is one end. Send may be called from any goroutine, receive by one at a time.
type Conn struct {
	unix   *net.UnixConn
	ctx    context.Context // ends when it is closed
	cancel context.CancelFunc
	buf    []byte
	oob    []byte

	mu sync.Mutex // one message at a time is sent
}

// New makes a Conn of a socket, and owns it from then on.
func New(c *net.UnixConn) *Conn {
	c.SetWriteBuffer(2 * maxMessage) // best effort: what is too long is an error of Send
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

// From makes a Conn of a descriptor that another process has handed down, and closes
// the file.
func From(f *os.File) (*Conn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("the descriptor is no Unix socket")
	}
	return New(u), nil
}

// Close ends the Conn. Whoever receives at either end gets an error.
func (c *Conn) Close() error {
	c.cancel()
	return c.unix.Close()
}

// Context ends when this end is closed, as Serve does when the other end is.
func (c *Conn) Context() context.Context { return c.ctx }

// send sends one message, with descriptors, which stay the caller's.
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

// receive waits for the next message, and returns the descriptors that came with it,
// which are the caller's.
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

// strict parses JSON that has to be as the type says.
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

// discard closes descriptors that may be such that this takes for ever: a socket that
// waits until somebody has read what it has sent (SO_LINGER), or a file of a file system
// that is the sender's own.
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
