package tunnel

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"stepvpn/shared/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ipv4 makes a whole IPv4 packet with n bytes behind the header.
func ipv4(n int) []byte {
	p := make([]byte, 20+n)
	copy(p, []byte{0x45, 0, byte((20 + n) >> 8), byte(20 + n), 0, 0, 0, 0, 64, 59, 0, 0, 10, 8, 0, 2, 10, 8, 0, 1})
	return p
}

// The tests run in bubbles of synctest: what would wait for ever fails at once.

// start runs a tunnel between two pipes and returns their far ends.
func start(t *testing.T, ctx context.Context) (kernel, network link.Link, count *Counters, result chan error) {
	dev, kernel := link.Pipe(10)
	conn, network := link.Pipe(10)
	count = new(Counters)
	result = make(chan error, 1)
	go func() { result <- Run(ctx, dev, conn, count) }()
	return kernel, network, count, result
}

func write(t *testing.T, l link.Link, packets ...[]byte) {
	t.Helper()
	b := link.NewBurst()
	for _, p := range packets {
		copy(b.Alloc(len(p)), p)
	}
	require.NoError(t, l.WriteBurst(b))
}

func read(t *testing.T, l link.Link) [][]byte {
	t.Helper()
	b := link.NewBurst()
	require.NoError(t, l.ReadBurst(b))
	var packets [][]byte
	for i := range b.Len() {
		packets = append(packets, bytes.Clone(b.At(i)))
	}
	return packets
}

func TestPacketsGoBothWaysAndAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		kernel, network, count, result := start(t, ctx)
		write(t, kernel, ipv4(64))
		require.Equal(t, [][]byte{ipv4(64)}, read(t, network))
		write(t, network, ipv4(1), ipv4(2))
		require.Equal(t, [][]byte{ipv4(1), ipv4(2)}, read(t, kernel))
		cancel()
		require.NoError(t, <-result)
		require.Equal(t, "sent 1 packets (84 bytes); received 2 packets (43 bytes); dropped: none", count.String())
	})
}

func TestOnlyWholePacketsReachTheDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		kernel, network, count, result := start(t, ctx)
		whole := ipv4(10)
		short, long := whole[:len(whole)-1], append(bytes.Clone(whole), 0)
		write(t, network, nil, []byte("GET / HTTP/1.1"), short, whole, long, ipv4(20))
		write(t, network, []byte("nothing else"))
		write(t, network, ipv4(30))
		var got [][]byte
		for last := ipv4(30); len(got) == 0 || !bytes.Equal(got[len(got)-1], last); {
			got = append(got, read(t, kernel)...)
		}
		cancel()
		require.NoError(t, <-result)
		require.Len(t, got, 3, "how many reach the device")
		require.Equal(t, [][]byte{whole, ipv4(20), ipv4(30)}, got, "which ones reach the device")
		require.EqualValues(t, 5, count.Drops.Count(link.Malformed))
		require.EqualValues(t, 3, count.Received.Packets())
	})
}

// An end of a tunnel that has nothing to read until it is closed, and then takes a while
// to return; or one that fails at once.
type end struct {
	fails  error
	closed chan struct{}
	close  func()
	busy   atomic.Int32 // how many are in ReadBurst
}

func newEnd() *end {
	e := &end{closed: make(chan struct{})}
	e.close = sync.OnceFunc(func() { close(e.closed) })
	return e
}

func (e *end) ReadBurst(*link.Burst) error {
	e.busy.Add(1)
	defer e.busy.Add(-1)
	if e.fails != nil {
		return e.fails
	}
	<-e.closed
	time.Sleep(time.Second)
	return net.ErrClosed
}

func (e *end) WriteBurst(*link.Burst) error { return nil }

func (e *end) Close() error {
	e.close()
	return nil
}

// done says whether nobody uses the end any more. It must be closed.
func (e *end) done() bool {
	select {
	case <-e.closed:
		return e.busy.Load() == 0
	default:
		return false
	}
}

func TestRunEndsWhenEitherEndFails(t *testing.T) {
	broken := errors.New("broken")
	for _, name := range []string{"TUN device", "other side"} {
		synctest.Test(t, func(t *testing.T) {
			dev, conn := newEnd(), newEnd()
			if name == "TUN device" {
				dev.fails = broken
			} else {
				conn.fails = broken
			}
			err := Run(t.Context(), dev, conn, new(Counters))
			require.ErrorIs(t, err, broken, "the error that came first")
			require.ErrorContains(t, err, name)
			require.True(t, dev.done() && conn.done(), "both are closed, and nobody uses them any more")
		})
	}
}

func TestRunEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		dev, conn := newEnd(), newEnd()
		require.NoError(t, Run(ctx, dev, conn, new(Counters)))
		require.True(t, dev.done() && conn.done(), "both are closed, and nobody uses them any more")
	})
}

// oneByOne is a device whose packets are each made in the place of the one before.
type oneByOne struct {
	link.Link
	packets [][]byte
	place   []byte
}

func (o *oneByOne) ReadBurst(b *link.Burst) error {
	if o.packets == nil {
		return o.Link.ReadBurst(b)
	}
	b.Reset()
	list := o.packets
	b.Lazy(len(list), func(i int) []byte {
		o.place = append(o.place[:0], list[i]...)
		return o.place
	})
	o.packets = nil
	return nil
}

func TestPacketsAreAskedForInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		dev, _ := link.Pipe(1)
		conn, network := link.Pipe(1)
		var count Counters
		want := [][]byte{ipv4(3), ipv4(100), ipv4(20)}
		result := make(chan error)
		go func() {
			result <- Run(ctx, &oneByOne{Link: dev, packets: want, place: make([]byte, 0, 200)}, conn, &count)
		}()
		require.Equal(t, want, read(t, network), "what went out")
		cancel()
		require.NoError(t, <-result)
		require.Equal(t, "3 packets (183 bytes)", count.Sent.String())
	})
}

// quiet has the same packet a number of times, and takes all without a word.
type quiet struct {
	packet []byte
	left   int
}

func (q *quiet) ReadBurst(b *link.Burst) error {
	if q.left--; q.left < 0 {
		return net.ErrClosed
	}
	b.Reset()
	copy(b.Alloc(len(q.packet)), q.packet)
	return nil
}

func (q *quiet) WriteBurst(*link.Burst) error { return nil }
func (q *quiet) Close() error                 { return nil }

// A direction has one burst, and a packet costs no memory.
func TestAPacketCostsNoAllocation(t *testing.T) {
	const packets = 1000
	var count Counters
	for _, relay := range []func(from, to link.Link, count *Counters) error{send, receive} {
		require.Less(t, testing.AllocsPerRun(1, func() {
			end := &quiet{ipv4(1400), packets}
			require.ErrorIs(t, relay(end, end, &count), net.ErrClosed)
		}), packets/10.0)
	}
	require.EqualValues(t, 2*packets, count.Sent.Packets(), "AllocsPerRun runs it once more")
	require.EqualValues(t, 2*packets, count.Received.Packets())
}
