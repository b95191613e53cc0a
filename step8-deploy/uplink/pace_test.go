package uplink

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Somebody changes a thing again and again: it is mended at once for a while, then
// seldom; and at once again after a minute of peace.
func TestPace(t *testing.T) {
	var p pace
	now := time.Now()
	step := func(d time.Duration) bool {
		now = now.Add(d)
		if !p.may(now) {
			return false
		}
		p.mends(now)
		return true
	}
	for range 20 {
		require.True(t, step(16*time.Second), "four in a minute are not too many")
		p.holds(now)
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
	require.InDelta(t, time.Minute/pause, mended, 1)
	p.holds(now.Add(59 * time.Second))
	require.False(t, p.may(now.Add(time.Second)))
	now = now.Add(70 * time.Second)
	p.holds(now)
	require.False(t, p.slow)
	require.True(t, step(0))
	require.True(t, step(0))
}
