package fast

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"stepvpn/shared/link"
	"stepvpn/step3-tunnel/transport"
)

// A udpReceiver is the receiving side of a UDP. It is used by one goroutine.
type udpReceiver struct {
	raw syscall.RawConn

	message unix.Msghdr
	vector  unix.Iovec
	name    sockaddr
	control [16]uint64 // control messages, aligned

	last sockaddr // the previous sender
	from netip.AddrPort

	n       int // bytes received
	errno   unix.Errno
	recvmsg func(fd uintptr) bool
}

func (r *udpReceiver) init(raw syscall.RawConn) {
	r.raw = raw
	r.message.Name = (*byte)(unsafe.Pointer(&r.name))
	r.message.Iov = &r.vector
	r.message.SetIovlen(1)
	r.message.Control = (*byte)(unsafe.Pointer(&r.control))
	r.recvmsg = r.call
}

// ReadBurst returns datagrams of one sender: one, or up to 64 that arrived one after another.
func (u *UDP) ReadBurst(b *link.Burst) error {
	r := &u.receiver
	for faults := 1; ; faults++ {
		b.Reset()
		if err := r.receive(b.Free()); err != nil {
			// The error may be an ICMP error about a packet that was sent earlier.
			if !transport.Passing(err, u.o.Drops) {
				return err
			}
			transport.Rest(faults)
			continue
		}
		b.Addr = r.sender()
		c := readControl(r.controls())
		if u.sources != nil && c.local.IsValid() {
			u.sources.learn(b.Addr, c.local)
		}
		b.Hints.Class = c.class
		u.split(b, r.n, c.stride)
		return nil
	}
}

// receive waits for datagrams to arrive, and puts them into buf.
func (r *udpReceiver) receive(buf []byte) error {
	r.vector.Base = unsafe.SliceData(buf)
	r.vector.SetLen(len(buf))
	if err := r.raw.Read(r.recvmsg); err != nil {
		return err
	}
	if r.errno != 0 {
		return r.errno
	}
	return nil
}

func (r *udpReceiver) call(fd uintptr) bool {
	r.message.Namelen = uint32(unsafe.Sizeof(r.name)) // the kernel sets these two
	r.message.SetControllen(int(unsafe.Sizeof(r.control)))
	r.n, r.errno = call(unix.SYS_RECVMSG, fd, unsafe.Pointer(&r.message), 0)
	return r.errno != unix.EAGAIN
}

// controls returns the control messages of what was received.
func (r *udpReceiver) controls() []byte {
	return unsafe.Slice(r.message.Control, int(r.message.Controllen))
}

// sender returns the address of the sender.
func (r *udpReceiver) sender() netip.AddrPort {
	if r.name != r.last {
		r.last, r.from = r.name, r.name.addrPort()
	}
	return r.from
}

// split splits the n bytes that arrived into packets of stride bytes each, of which the last
// may be shorter. A stride of 0 means a single packet.
func (u *UDP) split(b *link.Burst, n, stride int) {
	if stride <= 0 {
		stride = n
	}
	for left := n; ; left -= stride {
		if b.Alloc(min(left, stride)) == nil {
			u.o.Drops.Add(link.QueueFull) // a sender on this machine may send 128
		}
		if left <= stride {
			return
		}
	}
}
