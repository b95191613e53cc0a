package supervise

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// WatchClock calls jumped when the machine was suspended, or was stopped from
// outside, as a virtual machine may be, until ctx ends.
//
// Meanwhile the clock that Go's timers use (CLOCK_MONOTONIC) stands still.
// CLOCK_BOOTTIME goes on while the machine is suspended, and the time of day is ahead
// once it has been corrected. So a jump is when one of these two gains more than 5
// seconds on the first. Setting the time of day forward by hand looks the same, and
// costs a reconnect.
func WatchClock(ctx context.Context, jumped func()) {
	watchClock(ctx, readClocks, jumped)
}

const (
	clockEvery = 2 * time.Second // how often the clocks are compared
	clockJump  = 5 * time.Second // a larger difference is more than a clock's inaccuracy
)

// clocks are three clocks, read at about the same moment, each as the time since some fixed
// moment.
type clocks struct{ monotonic, boot, wall time.Duration }

func readClocks() clocks {
	read := func(id int32) time.Duration {
		var ts unix.Timespec
		unix.ClockGettime(id, &ts) // fails only for an unknown clock
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
