package supervise

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

const (
	clockEvery = 2 * time.Second // how often the clocks are compared
	clockJump  = 5 * time.Second // what is no mistake of a clock any more
)

// WatchClock calls jumped when the machine was suspended, or was stopped from
// outside as a virtual machine may be, until ctx ends.
//
// The clock that counts (CLOCK_MONOTONIC, which Go's timers use) stands still
// meanwhile. CLOCK_BOOTTIME does not, when the machine is suspended; nor does
// the time of day, once somebody has set it right. So a jump is when one of them
// gains on the first by more than 5 seconds. To set the time of day forward by
// hand looks the same, and costs a reconnect.
func WatchClock(ctx context.Context, jumped func()) {
	watchClock(ctx, readClocks, jumped)
}

// clocks are read at about the same moment, in time since some fixed one.
type clocks struct{ monotonic, boot, wall time.Duration }

func readClocks() clocks {
	read := func(id int32) time.Duration {
		var ts unix.Timespec
		unix.ClockGettime(id, &ts) // fails for an unknown clock only, of which there is none here
		return time.Duration(ts.Nano())
	}
	return clocks{read(unix.CLOCK_MONOTONIC), read(unix.CLOCK_BOOTTIME), read(unix.CLOCK_REALTIME)}
}

func watchClock(ctx context.Context, read func() clocks, jumped func()) {
	tick := time.NewTicker(clockEvery)
	defer tick.Stop()
	for before := read(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := read()
		passed := now.monotonic - before.monotonic
		if now.boot-before.boot > passed+clockJump || now.wall-before.wall > passed+clockJump {
			jumped()
		}
		before = now
	}
}
