package link

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// cutter makes packets of 10 bytes that lie one over another, as an end that cuts
// a large packet does.
type cutter struct {
	buf  [10]byte
	made []int
}

func (c *cutter) cut(i int) []byte {
	c.made = append(c.made, i)
	c.buf[0] = byte(i)
	return c.buf[:]
}

func TestCutMakesEachPacketOnceAndInOrder(t *testing.T) {
	var c cutter
	b := NewBurst()
	b.Cut(4, 40, c.cut)
	require.False(t, b.Stable())
	require.Equal(t, 4, b.Len())
	require.Equal(t, 40, b.Size())
	require.Empty(t, c.made, "not before they are asked for")
	require.EqualValues(t, 0, b.At(0)[0])
	require.EqualValues(t, 0, b.At(0)[0])
	require.EqualValues(t, 2, b.At(2)[0])
	require.Equal(t, []int{0, 1, 2}, c.made)
	require.Equal(t, 40, b.Size())

	b.Reset()
	require.True(t, b.Stable())
	require.Zero(t, b.Size())
	copy(b.Alloc(3), "abc")
	require.Equal(t, "abc", string(b.At(0)))
	require.Equal(t, 3, b.Size())
}

// A layer takes off headers and drops packets, as in any other burst.
func TestCutSetTruncate(t *testing.T) {
	var c cutter
	b := NewBurst()
	b.Cut(5, 50, c.cut)
	kept := 0
	for i := range b.Len() {
		if p := b.At(i); i%2 == 0 {
			b.Set(kept, p[1:])
			kept++
		}
	}
	b.Truncate(kept)
	require.Equal(t, 3, b.Len())
	require.Equal(t, 27, b.Size())
	require.Len(t, b.At(2), 9)
	require.Len(t, c.made, 5)

	b.Reset()
	b.Cut(5, 50, c.cut)
	b.Truncate(2)
	require.Equal(t, 20, b.Size())
	require.Equal(t, 2, b.Len())
}

func TestResetForgets(t *testing.T) {
	b := NewBurst()
	b.Class = 3
	b.Reset()
	require.Zero(t, b.Class)
}
