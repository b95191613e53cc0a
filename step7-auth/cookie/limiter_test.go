package cookie

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSources(t *testing.T) {
	source := func(s string) source { return sourceOf(netip.MustParseAddr(s)) }
	require.Equal(t, source("192.0.2.1"), source("::ffff:192.0.2.1"))
	require.NotEqual(t, source("192.0.2.1"), source("192.0.2.2"))
	require.Equal(t, source("2001:db8::1"), source("2001:db8::ffff:ffff:ffff:ffff"))
	require.NotEqual(t, source("2001:db8::1"), source("2001:db8:0:1::1"))
	require.NotEqual(t, source("::1"), source("0.0.0.0"))
}

// bucket is the textbook's token bucket.
type bucket struct {
	tokens time.Duration
	last   time.Time
}

// Forgetting sources changes no answer: the limiter says the same as buckets that
// live for ever.
func TestLimiterAgainstBuckets(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var l limiter
	buckets := make(map[netip.Addr]*bucket)
	at := now()
	allowed := 0
	for range 200_000 {
		from := netip.AddrFrom4([4]byte{192, 0, 2, byte(random.IntN(40))})
		b := buckets[from]
		if b == nil {
			b = &bucket{burst * interval, at}
			buckets[from] = b
		}
		b.tokens = min(burst*interval, b.tokens+at.Sub(b.last))
		b.last = at
		want := b.tokens >= interval
		if want {
			b.tokens -= interval
			allowed++
		}
		if l.allow(from, at) != want {
			t.Fatalf("%v at %v: want %v", from, at, want)
		}
		switch random.IntN(1000) {
		case 0:
			at = at.Add(time.Duration(random.IntN(600)) * time.Millisecond)
		default:
			at = at.Add(time.Duration(random.IntN(2000)) * time.Microsecond)
		}
	}
	require.Greater(t, allowed, 10_000)
	require.Less(t, allowed, 190_000)
}

func TestLimiterIsBounded(t *testing.T) {
	var l limiter
	addr := func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)) }
	for i := range maxSources {
		require.True(t, l.allow(addr(i), now()))
	}
	require.False(t, l.allow(addr(maxSources), now()), "no room")
	require.True(t, l.allow(addr(7), now()), "known")
	require.True(t, l.allow(addr(maxSources), now().Add(refill)))
	require.True(t, l.allow(addr(7), now().Add(refill)))
	require.LessOrEqual(t, len(l.young)+len(l.old), 2*maxSources)
}
