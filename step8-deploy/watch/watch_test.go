package watch

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Events that come together are reported once, and a steady stream at least every 2 s.
func TestCollect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var mu sync.Mutex // protects told
		var told []time.Duration
		events := make(chan struct{}, 1)
		var wg sync.WaitGroup
		wg.Go(func() { collect(events, func() { mu.Lock(); told = append(told, time.Since(start)); mu.Unlock() }) })
		for range 10 {
			events <- struct{}{}
			time.Sleep(Quiet / 2)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, []time.Duration{9*Quiet/2 + Quiet}, told)
		for range 100 {
			events <- struct{}{}
			time.Sleep(Quiet / 2)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		require.InDelta(t, 1+5, len(told), 1)
		close(events)
		wg.Wait()
	})
}
