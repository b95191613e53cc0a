package transport

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A socket that fails for ever is asked a thousand times a second. A few faults in a
// row cost no time.
func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		n := 1
		for ; n <= faultsAtOnce; n++ {
			Rest(n)
		}
		require.Zero(t, time.Since(begin))
		for ; time.Since(begin) < time.Second; n++ {
			Rest(n)
		}
		require.LessOrEqual(t, n, 1100)
	})
}
