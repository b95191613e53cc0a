package fast

import (
	"log/slog"
	"unsafe"

	"golang.org/x/sys/unix"

	"stepvpn/shared/link"
	"stepvpn/step2-tun/tun"
)

// A tunReader is the reading side of a TUN: it takes packets from the host. It is used by one
// goroutine.
type tunReader struct {
	tun *TUN
	buf []byte

	singles [link.MaxBurst][]byte // packets that are not super-packets
	n       int
	used    int // bytes of buf that singles take, each with its header before it
	given   int // how many of singles were handed on

	super frame // the last super-packet
	done  int   // how many of its segments were handed on

	base int // the first packet or segment of the current burst

	err error // of the last read

	poll   unix.PollFd
	atOnce unix.Timespec // stays 0

	// These are made once, so that no burst allocates them.
	readAll func(fd uintptr) bool
	single  func(i int) []byte
	segment func(i int) []byte
	lookFor func(fd uintptr)
}

const (
	// frameRoom is the room in bytes for one read: the kernel's super-packets have at most
	// 64 KB.
	frameRoom = vnetLen + 1<<16
	// singlesRoom is how many bytes of single packets are read for one burst.
	singlesRoom = 1 << 16
)

func (r *tunReader) init(t *TUN) {
	r.tun = t
	r.buf = make([]byte, singlesRoom+frameRoom)
	r.readAll = r.readFrames
	r.lookFor = r.look
	r.single = func(i int) []byte { return r.singles[r.base+i] }
	r.segment = func(i int) []byte { return r.super.segment(r.base + i) }
}

// ReadBurst returns the segments of one super-packet, or all single packets that are
// available, up to one with another traffic class.
func (t *TUN) ReadBurst(b *link.Burst) error {
	r := &t.reader
	b.Reset()
	for r.given == r.n && r.done == r.super.segments {
		if err := r.read(); err != nil {
			return t.final(err)
		}
	}
	if r.given < r.n {
		r.base = r.given
		b.Hints.Class = outerClass(r.singles[r.base])
		for r.given < r.n && outerClass(r.singles[r.given]) == b.Hints.Class {
			r.given++
		}
		b.Lazy(r.given-r.base, r.single)
		b.Hints.More = r.given < r.n || r.super.segments > 0 // a super-packet came after them
		return nil
	}
	r.base = r.done
	r.done = min(r.base+link.MaxBurst, r.super.segments)
	b.Hints.Class = outerClass(r.super.template[:])
	b.Lazy(r.done-r.base, r.segment)
	// A host's own super-packets fit into one send (see limitGSO), so waiting for more packets
	// gains nothing.
	b.Hints.More = r.done < r.super.segments || t.o.Router && r.waiting()
	return nil
}

// waiting reports whether there is something to read.
func (r *tunReader) waiting() bool {
	// An error means that the device is closed.
	return r.tun.raw.Control(r.lookFor) == nil && r.poll.Revents&unix.POLLIN != 0
}

func (r *tunReader) look(fd uintptr) {
	r.poll = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&r.poll)), 1, uintptr(unsafe.Pointer(&r.atOnce)), 0, 0, 0)
}

// read waits for a packet, and reads all that are available, up to a super-packet.
func (r *tunReader) read() error {
	r.n, r.used, r.given, r.err = 0, 0, 0, nil
	r.super.segments, r.done = 0, 0
	if err := r.tun.raw.Read(r.readAll); err != nil {
		return err
	}
	return r.err
}

// readFrames reads until there are no more packets, or there is no more room. It reports false
// if there were none.
func (r *tunReader) readFrames(fd uintptr) bool {
	for r.n < len(r.singles) && r.used <= singlesRoom {
		n, err := call(unix.SYS_READ, fd, unsafe.Pointer(&r.buf[r.used]), frameRoom)
		switch {
		case err == 0:
			if r.take(n) {
				return true
			}
		case err == unix.EAGAIN:
			return r.n > 0
		case (err == unix.EINVAL || err == unix.EIO) && !r.tun.o.NoTSO:
			r.tun.o.NoTSO = true
			slog.Warn("the kernel can't hand over its large packets: going on without them", "dev", r.tun.name, "error", err)
			r.tun.offload(int(fd))
		default:
			r.err = err
			return true
		}
	}
	return true
}

// take processes the n bytes of a read, and reports whether they are a super-packet. If the
// driver had to cut off some bytes, n is more than there was room for.
func (r *tunReader) take(n int) bool {
	got := r.buf[r.used:][:min(n, frameRoom)]
	if n < vnetLen || n > frameRoom || r.super.set(readVnet(got), got[vnetLen:]) != nil {
		r.super.segments = 0
		tun.Passing(unix.EINVAL, r.tun.o.Drops) // it is not a packet
		return false
	}
	if r.super.super() {
		return true
	}
	r.singles[r.n] = r.super.single()
	r.super.segments = 0
	r.n++
	r.used += n
	return false
}
