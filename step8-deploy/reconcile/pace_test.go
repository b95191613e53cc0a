package reconcile

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Somebody changes a thing again and again: for a while it is put back at once, then less
// often, and at once again after a minute without changes.
func TestPace(t *testing.T) {
	var p Pace
	now := time.Now()
	step := func(d time.Duration) bool {
		now = now.Add(d)
		if p.Wait(now) > 0 {
			return false
		}
		p.Mended(now)
		return true
	}
	for range 20 {
		require.True(t, step(16*time.Second), "four in a minute are not too many")
		p.Held(now)
	}
	now = now.Add(time.Minute)
	for range often {
		require.True(t, step(time.Second))
	}
	mended := 0
	for range 600 {
		if step(100 * time.Millisecond) {
			mended++
		}
	}
	require.InDelta(t, 8, mended, 2, "after 2, 4, 8 and then each 10 s")
	p.Held(now.Add(40 * time.Second))
	require.True(t, p.Slow())
	now = now.Add(70 * time.Second)
	p.Held(now)
	require.False(t, p.Slow())
	require.True(t, step(0))
	require.True(t, step(0))
}
