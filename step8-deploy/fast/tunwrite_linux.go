package fast

import (
	"log/slog"
	"unsafe"

	"golang.org/x/sys/unix"

	"stepvpn/shared/link"
	"stepvpn/step2-tun/tun"
)

// A tunWriter is the writing side of a TUN: it hands packets to the host. It is used by one
// goroutine.
type tunWriter struct {
	tun *TUN
	udp bool // the kernel accepts UDP super-packets

	run    run
	saved  [maxHeaders]byte // the first segment's headers, as they came
	header [vnetLen]byte
	vector [link.MaxBurst + 1]unix.Iovec // header, first packet, payloads
	parts  int

	errno unix.Errno // of the last write
	write func(fd uintptr) bool
}

func (w *tunWriter) init(t *TUN) {
	w.tun = t
	w.write = w.writev
}

// WriteBurst hands the packets to the host. It sends neighbouring packets of one flow as one
// super-packet, so all packets must stay valid until it returns, unlike those of a TUN's own
// burst.
func (t *TUN) WriteBurst(b *link.Burst) error {
	w := &t.writer
	unmark(b, t.o.Drops)
	if t.o.NoGRO {
		_, err := w.singles(b, 0, b.Len())
		return err
	}
	first := 0 // the first packet of the run
	w.run = run{}
	for i := range b.Len() {
		s, ok := asSegment(b.At(i))
		ok = ok && (w.udp || !s.udp)
		if ok && w.run.coalesce(s) {
			w.part(s.payload())
			continue
		}
		if err := w.flush(b, first, i); err != nil {
			return err
		}
		first = i
		w.run = run{}
		if ok {
			w.run.start(s)
		}
		w.begin(b.At(i))
	}
	return w.flush(b, first, b.Len())
}

// begin makes p the first part of what is to be written.
func (w *tunWriter) begin(p []byte) {
	w.vector[0].Base = &w.header[0]
	w.vector[0].SetLen(vnetLen)
	w.parts = 1
	w.part(p)
}

func (w *tunWriter) part(p []byte) {
	w.vector[w.parts].Base = unsafe.SliceData(p)
	w.vector[w.parts].SetLen(len(p))
	w.parts++
}

// flush writes the packets from i to j-1, which are a run, or one packet that must pass
// unchanged.
func (w *tunWriter) flush(b *link.Burst, i, j int) error {
	switch j - i {
	case 0:
		return nil
	case 1:
		vnetHeader{}.put(w.header[:])
		return w.dropped(w.send(), 1)
	}
	headers := w.run.first.p[:w.run.first.headers]
	copy(w.saved[:], headers)
	w.run.finish().put(w.header[:])
	err := w.send()
	copy(headers, w.saved[:])
	if err == unix.EIO || err == unix.EINVAL {
		return w.without(b, i, j, err)
	}
	return w.dropped(err, j-i)
}

// without writes the packets of a run that was refused, one by one. If the host accepts them
// so, there will be no such runs again.
func (w *tunWriter) without(b *link.Burst, i, j int, refused error) error {
	taken, err := w.singles(b, i, j)
	if taken == 0 {
		return err
	}
	if w.run.first.udp {
		w.udp = false
	} else {
		w.tun.o.NoGRO = true
	}
	slog.Warn("the kernel does not accept large packets: going on without them",
		"dev", w.tun.name, "udp", w.run.first.udp, "error", refused)
	return err
}

// singles writes the packets from i to j-1 unchanged, and returns how many the host accepted.
func (w *tunWriter) singles(b *link.Burst, i, j int) (taken int, err error) {
	vnetHeader{}.put(w.header[:])
	for ; i < j; i++ {
		w.begin(b.At(i))
		err := w.send()
		if err == nil {
			taken++
		} else if err := w.dropped(err, 1); err != nil {
			return taken, err
		}
	}
	return taken, nil
}

// dropped counts n packets that the host did not accept, or returns the error that ends the
// device.
func (w *tunWriter) dropped(err error, n int) error {
	if err == nil {
		return nil
	}
	for range n {
		if !tun.Passing(err, w.tun.o.Drops) {
			return w.tun.final(err)
		}
	}
	return nil
}

// send writes the parts in one call.
func (w *tunWriter) send() error {
	if err := w.tun.raw.Write(w.write); err != nil {
		return err
	}
	if w.errno != 0 {
		return w.errno
	}
	return nil
}

func (w *tunWriter) writev(fd uintptr) bool {
	_, w.errno = call(unix.SYS_WRITEV, fd, unsafe.Pointer(&w.vector[0]), uintptr(w.parts))
	return w.errno != unix.EAGAIN
}
