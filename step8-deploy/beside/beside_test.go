package beside

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// Put does not wait for a slow handler. Values that are put in meanwhile are passed on
// together, in one call.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := netip.MustParseAddr("10.8.0.2"), netip.MustParseAddr("fd00:8::2"), netip.MustParseAddr("10.8.0.3")
		looked, end := make(chan []netip.Addr, 10), make(chan struct{})
		hand := func(list map[netip.Addr]bool) { looked <- slices.Collect(maps.Keys(list)); <-end }
		idle := New(0, hand)
		require.NoError(t, idle.Close())
		idle.Put(true, a)
		q := New(0, hand)
		q.Put(true)
		synctest.Wait()
		require.Empty(t, looked)
		q.Put(true, a)
		synctest.Wait()
		require.Equal(t, []netip.Addr{a}, <-looked)
		for range 1000 {
			q.Put(true, b, c, a)
		}
		synctest.Wait()
		require.Empty(t, looked, "one at a time")
		end <- struct{}{}
		synctest.Wait()
		require.ElementsMatch(t, []netip.Addr{a, b, c}, <-looked)
		q.Put(true, b)
		closed := make(chan struct{})
		go func() { q.Close(); close(closed) }()
		open := func() {
			t.Helper()
			synctest.Wait()
			select {
			case <-closed:
				t.Error("closed before it has ended")
			default:
			}
		}
		open()
		q.Put(true, c)
		end <- struct{}{}
		open()
		require.Equal(t, []netip.Addr{b}, <-looked, "the waiting values come, and nothing else")
		end <- struct{}{}
		<-closed
		require.Empty(t, looked)
	})
}
