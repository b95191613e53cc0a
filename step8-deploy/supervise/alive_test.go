package supervise

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard atomic.Pointer[time.Time]
		hear := func() { now := time.Now(); heard.Store(&now) }
		hear()
		done := make(chan error, 1)
		ctx, stop := context.WithCancel(t.Context())
		alive := func() { done <- Alive(ctx, func() time.Time { return *heard.Load() }, 5*time.Second) }
		go alive()
		for range 100 {
			time.Sleep(4 * time.Second)
			hear()
		}
		last := time.Now()
		require.ErrorIs(t, <-done, errSilence)
		require.Equal(t, 5*time.Second, time.Since(last))

		hear()
		go alive()
		synctest.Wait()
		stop()
		require.NoError(t, <-done)
	})
}
