package supervise

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWatchClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var mu sync.Mutex            // protects what follows
		var boot, wall time.Duration // how much they have gained
		gain := func(b, w time.Duration) { mu.Lock(); boot += b; wall += w; mu.Unlock() }
		read := func() clocks {
			mu.Lock()
			defer mu.Unlock()
			m := time.Since(start)
			return clocks{m, m + boot, m + wall}
		}
		jumps := 0
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { watchClock(ctx, read, func() { jumps++ }) })
		check := func(want int) {
			t.Helper()
			time.Sleep(time.Minute)
			synctest.Wait()
			require.Equal(t, want, jumps)
		}
		check(0)
		gain(time.Hour, time.Hour) // suspended
		check(1)
		gain(0, time.Hour) // a virtual machine that was stopped, and whose clock was set right
		check(2)
		gain(0, -time.Hour) // the clock was set back
		check(2)
		gain(clockJump, clockJump) // a correction
		check(2)
		for range 100 { // a clock that drifts
			gain(0, time.Second)
			time.Sleep(clockEvery)
		}
		check(2)
		stop()
		wg.Wait()
	})
}

func TestReadClocks(t *testing.T) {
	a := readClocks()
	b := readClocks()
	require.Positive(t, a.monotonic)
	require.GreaterOrEqual(t, b.monotonic, a.monotonic)
	require.GreaterOrEqual(t, b.boot, b.monotonic)
	require.InDelta(t, float64(time.Now().UnixNano()), float64(b.wall), float64(time.Minute))
}
