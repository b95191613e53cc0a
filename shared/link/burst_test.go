package link

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// overlay makes packets of 10 bytes that lie one over another, as an end that
// segments a large packet does.
type overlay struct {
	buf  [10]byte
	made []int
}

func (o *overlay) packet(i int) []byte {
	o.made = append(o.made, i)
	o.buf[0] = byte(i)
	return o.buf[:]
}

func TestLazyMakesAPacketOnceWhenItIsAskedFor(t *testing.T) {
	var o overlay
	b := NewBurst()
	copy(b.Alloc(3), "abc") // of the burst before
	b.Reset()
	b.Lazy(4, o.packet)
	require.Equal(t, 4, b.Len())
	require.Empty(t, o.made, "not before they are asked for")
	require.EqualValues(t, 0, b.At(0)[0])
	require.EqualValues(t, 0, b.At(0)[0])
	require.EqualValues(t, 1, b.At(1)[0])
	require.EqualValues(t, 3, b.At(3)[0])
	require.Equal(t, []int{0, 1, 3}, o.made)

	b.Reset()
	copy(b.Alloc(3), "abc")
	require.Equal(t, "abc", string(b.At(0)))
	require.Equal(t, []int{0, 1, 3}, o.made)
}

// A layer takes off headers and drops packets, as in any other burst.
func TestLazySetTruncate(t *testing.T) {
	var o overlay
	b := NewBurst()
	b.Lazy(5, o.packet)
	kept := 0
	for i := range b.Len() {
		if p := b.At(i); i%2 == 0 {
			b.Set(kept, p[1:])
			kept++
		}
	}
	b.Truncate(kept)
	require.Equal(t, 3, b.Len())
	for i := range b.Len() {
		require.Len(t, b.At(i), 9)
	}
	require.Len(t, o.made, 5)

	b.Reset()
	b.Lazy(5, o.packet)
	b.Truncate(2)
	require.Equal(t, 2, b.Len())
	require.Len(t, b.At(1), 10)
}

func TestResetForgets(t *testing.T) {
	b := NewBurst()
	b.Hints = Hints{Class: 3, DontFragment: true, More: true}
	b.Reset()
	require.Zero(t, b.Hints)
}
