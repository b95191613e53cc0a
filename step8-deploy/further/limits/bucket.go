package limits

import (
	"time"

	"stepvpn/step8-deploy/further/limits/plan"
)

// A bucket is a token bucket: it fills with bytes at the rate of a limit, up to its depth, and
// each packet takes out as many bytes as it has. Whoever has been silent may so send a little
// at once, and in the long run nobody gets more than the rate.
//
// A packet passes if there is anything in the bucket, however long it is. The level may go below
// zero by that, and the next packet waits for longer.
type bucket struct {
	rate  float64 // bytes per second; 0 means that there is no limit
	level float64 // bytes, at most those of burst
	at    time.Duration
}

// burst is how long a bucket takes to fill: so in one second, at most 2.5 % more than the rate
// pass, and a packet.
const burst = 25 * time.Millisecond

// fill adds what has come in since the last call. now is a monotonic time.
//
//exercise:1
func (b *bucket) fill(now time.Duration) {
	b.level = min(b.level+b.rate*(now-b.at).Seconds(), b.rate*burst.Seconds())
	b.at = now
}

// ready reports whether a packet may pass. It must be called after fill.
//
//exercise:1
func (b *bucket) ready() bool {
	return b.rate == 0 || b.level > 0
}

// take is called for each packet of n bytes that passes.
//
//exercise:1
func (b *bucket) take(n int) {
	if b.rate != 0 {
		b.level -= float64(n)
	}
}

// wait returns how long it takes until a packet may pass.
//
//exercise:1
func (b *bucket) wait() time.Duration {
	if b.ready() {
		return 0
	}
	return time.Duration((1 - b.level) / b.rate * float64(time.Second))
}

// set changes the rate. What is in the bucket stays, as far as there is room.
func (b *bucket) set(r plan.Rate, now time.Duration) {
	b.fill(now)
	b.rate = float64(r) / 8
	b.fill(now)
}
