package tunnel

import (
	"bytes"
	"context"
	"errors"
	"net"
	"testing"
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
	ctx, cancel := context.WithCancel(t.Context())
	kernel, network, count, result := start(t, ctx)
	write(t, kernel, ipv4(64))
	require.Equal(t, [][]byte{ipv4(64)}, read(t, network))
	write(t, network, ipv4(1), ipv4(2))
	require.Equal(t, [][]byte{ipv4(1), ipv4(2)}, read(t, kernel))
	cancel()
	require.NoError(t, <-result)
	require.Equal(t, "sent 1 packets (84 bytes); received 2 packets (43 bytes); dropped: none", count.String())
}

func TestOnlyWholePacketsReachTheDevice(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	kernel, network, count, result := start(t, ctx)
	whole := ipv4(10)
	short, long := whole[:len(whole)-1], append(bytes.Clone(whole), 0)
	write(t, network, nil, []byte("GET / HTTP/1.1"), short, whole, long)
	require.Equal(t, [][]byte{whole}, read(t, kernel))
	cancel()
	require.NoError(t, <-result)
	require.EqualValues(t, 4, count.Drops.Count(link.Malformed))
	require.EqualValues(t, 1, count.Received.Packets())
}

func TestRunEndsWhenEitherEndFails(t *testing.T) {
	for _, end := range []string{"device", "network"} {
		kernel, network, _, result := start(t, t.Context())
		if end == "device" {
			kernel.Close()
		} else {
			network.Close()
		}
		select {
		case err := <-result:
			require.True(t, errors.Is(err, net.ErrClosed), "%v", err)
		case <-time.After(20 * time.Second):
			require.Fail(t, "still running")
		}
		// The other end was closed too.
		require.Error(t, kernel.ReadBurst(link.NewBurst()))
		require.Error(t, network.ReadBurst(link.NewBurst()))
	}
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
	ctx, cancel := context.WithCancel(t.Context())
	dev, _ := link.Pipe(1)
	conn, network := link.Pipe(1)
	var count Counters
	want := [][]byte{ipv4(3), ipv4(100), ipv4(20)}
	result := make(chan error)
	go func() {
		result <- Run(ctx, &oneByOne{Link: dev, packets: want, place: make([]byte, 0, 200)}, conn, &count)
	}()
	require.Equal(t, want, read(t, network))
	cancel()
	require.NoError(t, <-result)
	require.Equal(t, "3 packets (183 bytes)", count.Sent.String())
}

// quiet is a device that always has the same packet, and takes all without a word.
type quiet struct{ packet []byte }

func (q quiet) ReadBurst(b *link.Burst) error {
	b.Reset()
	copy(b.Alloc(len(q.packet)), q.packet)
	return nil
}
func (q quiet) WriteBurst(*link.Burst) error { return nil }
func (q quiet) Close() error                 { return nil }

func TestAPacketCostsNoAllocation(t *testing.T) {
	var count Counters
	b, l := link.NewBurst(), quiet{ipv4(1400)}
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		l.ReadBurst(b)
		dropMalformed(b, &count.Drops)
		count.Received.add(b)
		l.WriteBurst(b)
	}))
}
