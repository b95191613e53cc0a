package link

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBurstHoldsWhatItSays(t *testing.T) {
	b := NewBurst()
	require.Len(t, b.Alloc(MaxPacket), MaxPacket)
	require.Nil(t, b.Alloc(1), "the buffer is full")

	b.Reset()
	for i := range MaxBurst {
		p := b.Alloc(10)
		require.NotNil(t, p)
		p[0] = byte(i)
	}
	require.Nil(t, b.Alloc(10), "the burst is full")
	require.Equal(t, MaxBurst, b.Len())
	for i := range MaxBurst {
		require.EqualValues(t, i, b.At(i)[0])
	}
	// A packet can't grow into the one behind it.
	require.Equal(t, 10, cap(b.At(3)))
}

func TestBurstKeepsWhatIsSet(t *testing.T) {
	b := NewBurst()
	for _, s := range []string{"keep 1", "drop", "keep 2"} {
		copy(b.Alloc(len(s)), s)
	}
	kept := 0
	for i := range b.Len() {
		if p := b.At(i); bytes.HasPrefix(p, []byte("keep ")) {
			b.Set(kept, p[5:])
			kept++
		}
	}
	b.Truncate(kept)
	require.Equal(t, 2, b.Len())
	require.Equal(t, "1", string(b.At(0)))
	require.Equal(t, "2", string(b.At(1)))
}

func TestFreeIsWhereAllocComesFrom(t *testing.T) {
	b := NewBurst()
	copy(b.Alloc(3), "abc")
	n := copy(b.Free(), "defg")
	require.Equal(t, "defg", string(b.Alloc(n)))
	require.Equal(t, "abc", string(b.At(0)))
}

func TestSwap(t *testing.T) {
	a, b := NewBurst(), NewBurst()
	copy(a.Alloc(2), "hi")
	a.Addr = netip.MustParseAddrPort("192.0.2.1:1")
	a.Swap(b)
	require.Zero(t, a.Len())
	require.False(t, a.Addr.IsValid())
	require.Equal(t, "hi", string(b.At(0)))
	require.EqualValues(t, 1, b.Addr.Port())
	copy(a.Alloc(3), "new") // each has a buffer of its own
	require.Equal(t, "hi", string(b.At(0)))
}

func TestDrops(t *testing.T) {
	var d Drops
	require.Equal(t, "none", d.String())
	d.Add(NoPeer)
	d.Add(Malformed)
	d.Add(NoPeer)
	require.Equal(t, "malformed 1, no-peer 2", d.String())
	require.EqualValues(t, 2, d.Count(NoPeer))
	require.Len(t, d.Counts(), len(Reasons()), "also those that did not occur")
}

func TestReasons(t *testing.T) {
	names := Reasons()
	require.Contains(t, names, QueueFull.String())
	require.Panics(t, func() { NewReason(QueueFull.String()) }, "each has a name of its own")
	require.Equal(t, names, Reasons())
}

func TestPipe(t *testing.T) {
	a, b := Pipe(1)
	out, in := NewBurst(), NewBurst()
	copy(out.Alloc(2), "hi")
	copy(out.Alloc(5), "there")
	require.NoError(t, a.WriteBurst(out))
	copy(out.At(0), "no") // the pipe has a copy
	require.NoError(t, b.ReadBurst(in))
	require.Equal(t, 2, in.Len())
	require.Equal(t, "hi", string(in.At(0)))
	require.Equal(t, "there", string(in.At(1)))

	// Close ends a reader and a writer that wait, and both ends are closed.
	require.NoError(t, a.WriteBurst(out))
	failed := make(chan error)
	go func() { failed <- a.WriteBurst(out) }()
	go func() { failed <- a.ReadBurst(NewBurst()) }()
	require.NoError(t, b.Close())
	require.NoError(t, b.Close())
	require.ErrorIs(t, <-failed, net.ErrClosed)
	require.ErrorIs(t, <-failed, net.ErrClosed)
}

// script is an end that reads and writes as a test tells it.
type script struct {
	read  []byte
	wrote []string
	err   error
}

func (s *script) Read(p []byte) (int, error) { return copy(p, s.read), s.err }
func (s *script) Write(p []byte) (int, error) {
	s.wrote = append(s.wrote, string(p))
	return len(p), s.err
}
func (s *script) Close() error { return nil }

func TestSingle(t *testing.T) {
	end := &script{read: []byte("packet")}
	l := Single(end)
	b := NewBurst()
	require.NoError(t, l.ReadBurst(b))
	require.Equal(t, 1, b.Len())
	require.Equal(t, "packet", string(b.At(0)))
	copy(b.Alloc(4), "more")
	require.NoError(t, l.WriteBurst(b))
	require.Equal(t, []string{"packet", "more"}, end.wrote)

	for _, closed := range []error{os.ErrClosed, io.ErrClosedPipe, net.ErrClosed} {
		end.err = &os.PathError{Op: "read", Path: "tun", Err: closed}
		require.ErrorIs(t, l.ReadBurst(b), net.ErrClosed)
		copy(b.Alloc(1), "x")
		require.ErrorIs(t, l.WriteBurst(b), net.ErrClosed)
	}
	end.err = errors.New("broken")
	require.ErrorContains(t, l.ReadBurst(b), "broken")
}

func TestSingleDoesNotAllocate(t *testing.T) {
	l, b := Single(silent{}), NewBurst()
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if l.ReadBurst(b) != nil || l.WriteBurst(b) != nil {
			t.Error("failed")
		}
	}))
}

type silent struct{}

func (silent) Read(p []byte) (int, error)  { return 1400, nil }
func (silent) Write(p []byte) (int, error) { return len(p), nil }
func (silent) Close() error                { return nil }
