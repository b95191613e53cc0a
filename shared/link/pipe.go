package link

import (
	"net"
	"sync"
)

// Pipe returns two Links that are joined in memory: packets written to one are read from
// the other. Each direction holds up to depth bursts; then WriteBurst blocks. It takes the
// place of a socket in tests that need no network.
func Pipe(depth int) (Link, Link) {
	ab, ba := make(chan [][]byte, depth), make(chan [][]byte, depth)
	done := make(chan struct{})
	close := sync.OnceFunc(func() { close(done) })
	return &pipe{ab, ba, done, close}, &pipe{ba, ab, done, close}
}

type pipe struct {
	out   chan<- [][]byte
	in    <-chan [][]byte
	done  chan struct{} // closed by either end's Close
	close func()
}

func (p *pipe) ReadBurst(b *Burst) error {
	b.Reset()
	select {
	case <-p.done:
		return net.ErrClosed
	case packets := <-p.in:
		for _, q := range packets {
			copy(b.Alloc(len(q)), q)
		}
		return nil
	}
}

func (p *pipe) WriteBurst(b *Burst) error {
	packets := make([][]byte, b.Len())
	for i := range packets {
		packets[i] = append([]byte(nil), b.At(i)...)
	}
	select {
	case <-p.done:
		return net.ErrClosed
	case p.out <- packets:
		return nil
	}
}

func (p *pipe) Close() error {
	p.close()
	return nil
}
