package secure

import (
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
)

// A memory link that does not allocate: one direction is a ring of buffers. What
// does not fit is lost.
type ring struct {
	mu      sync.Mutex
	arrived sync.Cond
	bufs    [2 * link.MaxBurst][2048]byte
	lens    [2 * link.MaxBurst]int
	in, out int // counts of packets
	closed  bool
}

type ringEnd struct{ to, from *ring }

// newRings returns both ends of a link of two rings.
func newRings() (a, z *ringEnd) {
	x, y := new(ring), new(ring)
	x.arrived.L, y.arrived.L = &x.mu, &y.mu
	return &ringEnd{x, y}, &ringEnd{y, x}
}

func (e *ringEnd) WriteBurst(b *link.Burst) error {
	r := e.to
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range b.Len() {
		if r.in-r.out < len(r.bufs) {
			slot := r.in % len(r.bufs)
			r.lens[slot] = copy(r.bufs[slot][:], b.At(i))
			r.in++
		}
	}
	r.arrived.Signal()
	return nil
}

func (e *ringEnd) ReadBurst(b *link.Burst) error {
	b.Reset()
	r := e.from
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.in == r.out && !r.closed {
		r.arrived.Wait()
	}
	if r.closed {
		return net.ErrClosed
	}
	for r.out < r.in {
		slot := r.out % len(r.bufs)
		room := b.Alloc(r.lens[slot])
		if room == nil {
			break
		}
		copy(room, r.bufs[slot][:])
		r.out++
	}
	return nil
}

func (e *ringEnd) Close() error {
	for _, r := range []*ring{e.to, e.from} {
		r.mu.Lock()
		r.closed = true
		r.arrived.Broadcast()
		r.mu.Unlock()
	}
	return nil
}

// conveyor returns a function that moves a burst of n packets of some size
// through a client and a server.
func conveyor(t testing.TB, cfg Config, size, n int) (move func()) {
	t.Helper()
	a, z := newRings()
	server, err := Server(z, cfg)
	require.NoError(t, err)
	confirmed := make(chan struct{})
	in := link.NewBurst()
	go func() {
		defer close(confirmed)
		for server.Status() == (Status{}) {
			server.read(in)
		}
	}()
	client, err := Client(t.Context(), a, cfg)
	require.NoError(t, err)
	<-confirmed
	t.Cleanup(func() {
		client.Close()
		server.Close()
	})

	out := link.NewBurst()
	packet := ipPacket(string(make([]byte, size-20)))
	return func() {
		out.Reset()
		for range n {
			copy(out.Alloc(size), packet)
		}
		if err := client.WriteBurst(out); err != nil {
			t.Fatal(err)
		}
		for got := 0; got < n; got += in.Len() {
			if err := server.ReadBurst(in); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// The data path allocates nothing, from burst to burst.
func TestConnAllocs(t *testing.T) {
	for _, cfg := range []Config{config(1), foreignConfig(1)} {
		for _, n := range []int{1, 40} {
			move := conveyor(t, cfg, 1420, n)
			if allocs := testing.AllocsPerRun(1000, move); !raceDetector {
				require.Zero(t, allocs, "bursts of %d", n)
			}
		}
	}
}
