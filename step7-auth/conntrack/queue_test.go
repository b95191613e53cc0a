package conntrack

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// Nobody waits for one that takes long. What comes meanwhile goes together, and once.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := netip.MustParseAddr("10.8.0.2"), netip.MustParseAddr("fd00:8::2"), netip.MustParseAddr("10.8.0.3")
		looked, end := make(chan []netip.Addr, 10), make(chan error)
		q := Beside(func(list []netip.Addr) error { looked <- list; return <-end })
		require.NoError(t, q.Close())
		require.NoError(t, q.Forget(nil))
		require.NoError(t, q.Forget([]netip.Addr{a}))
		synctest.Wait()
		require.Equal(t, []netip.Addr{a}, <-looked)
		for range 1000 {
			require.NoError(t, q.Forget([]netip.Addr{b, c, a}))
		}
		synctest.Wait()
		require.Empty(t, looked, "one at a time")
		end <- errors.New("it goes on after an error")
		synctest.Wait()
		require.ElementsMatch(t, []netip.Addr{a, b, c}, <-looked)
		closed := make(chan struct{})
		go func() { q.Close(); close(closed) }()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("closed before it has ended")
		default:
		}
		end <- nil
		<-closed
		require.Empty(t, looked)
	})
}
