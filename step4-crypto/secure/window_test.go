package secure

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// naive is a window that is obviously right: it forgets nothing.
type naive struct {
	seen map[uint64]bool
	next uint64
}

func (n *naive) fresh(counter uint64) bool {
	tooOld := counter+windowSize < n.next
	return !n.seen[counter] && !tooOld
}

func (n *naive) mark(counter uint64) {
	n.seen[counter] = true
	n.next = max(n.next, counter+1)
}

func TestWindowEdges(t *testing.T) {
	var w window
	require.True(t, w.fresh(0), "the zero value has seen nothing")
	w.mark(0)
	require.False(t, w.fresh(0))
	require.True(t, w.fresh(1))

	w.mark(windowSize)
	require.False(t, w.fresh(0), "just outside")
	require.True(t, w.fresh(1), "just inside")
	w.mark(1)
	require.False(t, w.fresh(1))

	const far = math.MaxUint64 - 1
	w.mark(far)
	require.False(t, w.fresh(far))
	require.False(t, w.fresh(far-windowSize))
	require.True(t, w.fresh(far-windowSize+1))
	require.False(t, w.fresh(2))
}

// The window decides as the naive model does, in whatever order counters come:
// in turn, out of order by a little or by about the window's size, in small and
// in huge steps.
func TestWindowAgainstModel(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 0))
		var w window
		model := naive{seen: make(map[uint64]bool)}
		for range 20000 {
			counter := model.next
			switch r.IntN(8) {
			case 0, 1:
				counter += r.Uint64N(3)
			case 2:
				counter -= min(counter, r.Uint64N(100))
			case 3:
				counter -= min(counter, r.Uint64N(2*windowSize))
			case 4:
				counter -= min(counter, windowSize+3-r.Uint64N(6))
			case 5:
				counter += r.Uint64N(200)
			case 6:
				if r.IntN(100) == 0 {
					counter += r.Uint64N(3 * windowSize)
				}
			case 7:
				if r.IntN(1000) == 0 {
					counter += r.Uint64N(1 << 40)
				}
			}
			fresh, want := w.fresh(counter), model.fresh(counter)
			require.False(t, fresh && !want, "a replay gets in: seed %d, counter %d, next %d", seed, counter, model.next)
			require.False(t, want && !fresh, "a new packet is refused: seed %d, counter %d, next %d", seed, counter, model.next)
			if fresh {
				w.mark(counter)
				model.mark(counter)
			}
		}
	}
}

func FuzzWindow(f *testing.F) {
	f.Add([]byte{0, 1, 2, 1, 0, 255, 130, 3})
	f.Fuzz(func(t *testing.T, steps []byte) {
		var w window
		model := naive{seen: make(map[uint64]bool)}
		for _, step := range steps {
			// The low bits say how far, the high bit says in which direction.
			distance := uint64(1) << (step & 0xf)
			counter := model.next + distance - 1
			if step&0x80 != 0 {
				counter = model.next - min(model.next, distance+uint64(step>>4&7))
			}
			fresh := w.fresh(counter)
			require.Equal(t, model.fresh(counter), fresh)
			if fresh {
				w.mark(counter)
				model.mark(counter)
			}
		}
	})
}
