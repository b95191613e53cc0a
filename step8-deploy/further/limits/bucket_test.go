package limits

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// passed returns how many bytes of packets of n bytes, which always wait, pass in a time.
func passed(b *bucket, from, to time.Duration, n int, step time.Duration) (bytes int) {
	for now := from; now < to; now += step {
		b.fill(now)
		for b.ready() {
			b.take(n)
			bytes += n
		}
	}
	return bytes
}

// In the long run, what passes is the rate, whatever the length of packets and however rarely
// anybody looks (as long as that is not more rarely than a bucket takes to fill).
func TestBucketRate(t *testing.T) {
	for _, rate := range []float64{8_000, 125_000, 2_500_000, 125_000_000} {
		for _, n := range []int{1, 100, 1420, 9000} {
			for _, step := range []time.Duration{100 * time.Microsecond, 7 * time.Millisecond, burst} {
				if float64(n) < rate/1e5 {
					continue // takes long
				}
				b := bucket{rate: rate}
				b.fill(0)
				got := float64(passed(&b, 0, 20*time.Second, n, step)) / 20
				require.InEpsilon(t, rate, got, 0.002+float64(n)/rate/20*2, "rate %v, packets of %d bytes, each %v", rate, n, step)
			}
		}
	}
}

// Whoever was silent, for however long, may send what the bucket holds: no second has more than
// the rate and the bucket's depth, and a packet.
func TestBucketBurst(t *testing.T) {
	const rate, n = 125_000, 1420
	b := bucket{rate: rate}
	b.fill(time.Hour)
	at := passed(&b, time.Hour, time.Hour+time.Nanosecond, n, 1)
	require.InDelta(t, rate*burst.Seconds(), at, n, "bytes that pass at once after an hour of silence")
	require.LessOrEqual(t, at+passed(&b, time.Hour, time.Hour+time.Second, n, time.Millisecond), int(1.05*rate), "bytes in a second")
}

// A packet that is longer than the bucket is deep passes, too, and those behind it wait for longer.
func TestBucketLongPacket(t *testing.T) {
	b := bucket{rate: 8000}
	b.fill(time.Second)
	require.True(t, b.ready(), "a full bucket")
	b.take(16000)
	require.False(t, b.ready(), "a bucket that lacks two seconds' bytes")
	wait := b.wait()
	require.InDelta(t, 2*time.Second-burst, wait, float64(time.Millisecond), "how long the next packet waits")
	b.fill(time.Second + wait - time.Millisecond)
	require.False(t, b.ready(), "a millisecond before its wait is over")
	b.fill(time.Second + wait)
	require.True(t, b.ready(), "when its wait is over")
	require.Zero(t, b.wait(), "the wait of a packet that may pass")
}

// Without a limit everything passes; and when one comes, nothing has been saved up or is owed.
func TestBucketSet(t *testing.T) {
	var b bucket
	b.fill(time.Hour)
	for range 1000 {
		require.True(t, b.ready())
		b.take(1500)
	}
	b.set(8_000_000, time.Hour)
	b.fill(time.Hour + 10*time.Millisecond)
	require.InDelta(t, 10_000, passed(&b, time.Hour+10*time.Millisecond, time.Hour+10*time.Millisecond+1, 1000, 1), 1000)
	b.fill(2 * time.Hour)
	b.set(80_000, 2*time.Hour)
	require.LessOrEqual(t, b.level, 10_000*burst.Seconds(), "a lower rate has a smaller bucket")
}
