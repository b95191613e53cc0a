package cookie

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// tokens is the textbook's token bucket.
type tokens struct {
	left float64
	last time.Time
}

// Forgetting sources changes no answer: the limiter says the same as buckets that
// live for ever.
func TestLimiterAgainstBuckets(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var l Limiter
	buckets := make(map[string]*tokens)
	at := now()
	allowed := 0
	for range 100_000 {
		customer, net, host, port := random.IntN(2), random.IntN(2), random.IntN(2), random.IntN(2)
		from := netip.MustParseAddrPort(fmt.Sprintf("[2001:db8:0:%x%02x::%x]:%d", customer, net, host, port+1))
		want, asked := true, []*tokens{}
		for name, size := range map[string]float64{
			"site":                                perSite,
			fmt.Sprint("customer", customer):      perCustomer,
			fmt.Sprint("net", customer, net):      perHost,
			fmt.Sprint(customer, net, host, port): perEndpoint,
		} {
			b := buckets[name]
			if b == nil {
				b = &tokens{size, at}
				buckets[name] = b
			}
			b.left = min(size, b.left+float64(at.Sub(b.last))/float64(refill)*size)
			b.last = at
			want = want && b.left >= 1-1e-6
			asked = append(asked, b)
		}
		if want {
			for _, b := range asked {
				b.left--
			}
			allowed++
		}
		if l.Allow(from, at) != want {
			t.Fatalf("%v at %v: want %v", from, at, want)
		}
		switch random.IntN(1000) {
		case 0:
			at = at.Add(time.Duration(random.IntN(600)) * time.Millisecond)
		default:
			at = at.Add(time.Duration(random.IntN(10000)) * time.Microsecond)
		}
	}
	require.Greater(t, allowed, 10_000)
	require.Less(t, allowed, 90_000)
}

// A sender that has a whole network, of any size, is held to that network's share, and takes
// nothing from others.
func TestNetworksAreLimited(t *testing.T) {
	for name, tt := range map[string]struct {
		addr func(i int) string
		most int // in the first moment
	}{
		"IPv4 address": {func(i int) string { return fmt.Sprintf("192.0.2.1:%d", i+1) }, perHost},
		"IPv4 /24":     {func(i int) string { return fmt.Sprintf("192.0.2.%d:%d", i%256, i+1) }, perSite},
		"in IPv6 form": {func(i int) string { return fmt.Sprintf("[::ffff:192.0.2.%d]:%d", i%256, i+1) }, perSite},
		"IPv6 /64":     {func(i int) string { return fmt.Sprintf("[2001:db8::%x]:%d", i, i+1) }, perHost},
		"IPv6 /56":     {func(i int) string { return fmt.Sprintf("[2001:db8:0:%x::1]:%d", i%256, i+1) }, perCustomer},
		"IPv6 /48":     {func(i int) string { return fmt.Sprintf("[2001:db8:0:%x::1]:%d", i*7, i+1) }, perSite},
	} {
		t.Run(name, func(t *testing.T) {
			var l Limiter
			allowed := 0
			for i := range 5000 {
				if l.Allow(netip.MustParseAddrPort(tt.addr(i)), now()) {
					allowed++
				}
			}
			require.Equal(t, tt.most, allowed)
			require.LessOrEqual(t, len(l.young), 4*tt.most, "a refused message leaves no trace")
			require.True(t, l.Allow(netip.MustParseAddrPort("198.51.100.1:1"), now()))
			require.True(t, l.Allow(netip.MustParseAddrPort("[2001:db8:1::1]:1"), now()))
		})
	}
}

func TestLimiterIsBounded(t *testing.T) {
	var l Limiter
	addr := func(i int) netip.AddrPort {
		return netip.MustParseAddrPort(fmt.Sprintf("[2001:%x:%x::1]:1", i>>8, i&255))
	}
	const sites = maxSources / 4 // of each of which there is a /48, /56, /64, and an endpoint
	for i := range sites {
		require.True(t, l.Allow(addr(i), now()))
	}
	require.False(t, l.Allow(addr(sites), now()), "no room")
	require.True(t, l.Allow(addr(7), now()), "known")
	require.True(t, l.Allow(addr(sites), now().Add(refill)))
	require.True(t, l.Allow(addr(7), now().Add(refill)))
	require.LessOrEqual(t, len(l.young)+len(l.old), 2*maxSources)
}
