package link

import (
	"errors"
	"io"
	"net"
	"os"
)

// Single makes a Link of an end that carries one packet per Read and per Write, as a TUN
// device does. Read must return a whole packet, and neither method may keep the slice.
func Single(rw io.ReadWriteCloser) Link { return single{rw} }

type single struct{ rw io.ReadWriteCloser }

func (s single) ReadBurst(b *Burst) error {
	b.Reset()
	n, err := s.rw.Read(b.Free())
	if err != nil {
		return closed(err)
	}
	b.Alloc(n)
	return nil
}

func (s single) WriteBurst(b *Burst) error {
	for i := range b.Len() {
		if _, err := s.rw.Write(b.At(i)); err != nil {
			return closed(err)
		}
	}
	return nil
}

func (s single) Close() error { return s.rw.Close() }

// closed maps the errors by which files and pipes say "closed" to the one that the
// contract of Link demands.
func closed(err error) error {
	if errors.Is(err, os.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return net.ErrClosed
	}
	return err
}
