package fast

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"stepvpn/shared/link"
)

// A TUN is one queue of a TUN device, as a link.Link.
//
// It reads the kernel's super-packets and segments them on demand. The packets of a burst
// are in the TUN's own buffer, and are valid until its next ReadBurst. It coalesces packets
// that it writes if it can. If the kernel refuses either of these, it goes on without it.
type TUN struct {
	file *os.File
	raw  syscall.RawConn
	name string
	o    TUNOptions

	closed atomic.Bool // Close was called

	reader tunReader
	writer tunWriter
}

// TUNOptions are Open's options, in addition to those of every device.
type TUNOptions struct {
	NoTSO  bool // take every packet from the host by itself
	NoGRO  bool // hand every packet to the host by itself
	Queues int  // how many queues to open; 0 means 1

	// Router says that most packets come from other hosts, so the size of super-packets must
	// not be limited: the kernel would segment one that is too large for the device into
	// single packets, and the advantage of this package would be lost.
	Router bool

	// Drops counts packets that the host does not accept (see tun.Device), and packets that
	// are Congested. Required.
	Drops *link.Drops
}

// openTUN makes a TUN device, which is not configured yet, and returns its queues and its
// name. It takes over a device of that name if there is one. Packets of one flow stay in one
// queue. The device goes when its last queue is closed.
func openTUN(name string, o TUNOptions) (queues []*TUN, _ string, err error) {
	fds, name, err := attachQueues(name, max(o.Queues, 1), o.Router)
	if err != nil {
		return nil, "", err
	}
	for i, fd := range fds {
		t, err := NewTUN(fd, name, o)
		if err != nil {
			for _, q := range queues {
				q.Close()
			}
			closeFDs(fds[i+1:])
			return nil, "", err
		}
		queues = append(queues, t)
	}
	return queues, name, nil
}

// attachQueues makes a TUN device, or takes over the one of that name, and returns the
// descriptors of its n queues. The device goes when the last of them is closed.
func attachQueues(name string, n int, router bool) (fds []int, _ string, err error) {
	for range n {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			closeFDs(fds)
			return nil, "", &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
		}
		fds = append(fds, fd)
		if name, err = attach(fd, name, n > 1); err != nil {
			closeFDs(fds)
			return nil, "", os.NewSyscallError("TUNSETIFF", err)
		}
	}
	if router {
		return fds, name, nil
	}
	if err := limitGSO(name, maxGSO); err != nil {
		slog.Debug("the kernel does not limit its large packets", "dev", name, "error", err) // this only makes it slower
	}
	return fds, name, nil
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// NewTUN makes a Link out of the descriptor of a queue (see Attach), which the Link then owns.
// It needs no privilege.
func NewTUN(fd int, name string, o TUNOptions) (*TUN, error) {
	t := &TUN{o: o, name: name}
	t.writer.udp = t.offload(fd)
	return t, t.use(fd)
}

// use makes t use a descriptor, which must be attached to its device already: the poller would
// not accept it before.
func (t *TUN) use(fd int) error {
	t.file = os.NewFile(uintptr(fd), "/dev/net/tun")
	raw, err := t.file.SyscallConn()
	if err != nil {
		t.file.Close()
		return err
	}
	t.raw = raw
	t.reader.init(t)
	t.writer.init(t)
	return nil
}

// attach makes the descriptor a queue of the device, and returns the device's name.
func attach(fd int, name string, several bool) (string, error) {
	ifreq, err := unix.NewIfreq(name)
	if err != nil {
		return "", err
	}
	flags := uint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if several {
		flags |= unix.IFF_MULTI_QUEUE
	}
	ifreq.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifreq); err != nil {
		return "", err
	}
	return ifreq.Name(), unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, vnetLen)
}

// offload tells the kernel what it may leave to us, and reports whether it supports UDP
// super-packets.
func (t *TUN) offload(fd int) (udp bool) {
	const (
		tso = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
		uso = unix.TUN_F_USO4 | unix.TUN_F_USO6
	)
	udp = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tso|uso) == nil
	switch {
	case t.o.NoTSO:
		unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, 0)
	case !udp:
		if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tso); err != nil {
			slog.Info("the kernel does not hand over large packets", "dev", t.name, "error", err)
		}
	}
	return udp
}

// Close closes the queue. When the last one is closed, the device goes.
func (t *TUN) Close() error {
	if t.closed.Swap(true) {
		return nil // closing twice is fine
	}
	return t.file.Close()
}

// final returns the error that ends the device, in words for people.
func (t *TUN) final(err error) error {
	if t.closed.Load() {
		return net.ErrClosed
	}
	if t.deleted() {
		return fmt.Errorf("device %s was deleted by somebody else", t.name)
	}
	return err
}

// deleted asks the driver whether the device is gone.
func (t *TUN) deleted() bool {
	var answer error
	err := t.raw.Control(func(fd uintptr) {
		var ifreq unix.Ifreq
		answer = unix.IoctlIfreq(int(fd), unix.TUNGETIFF, &ifreq)
	})
	return err == nil && answer == unix.EBADFD
}

var _ link.Link = (*TUN)(nil)
