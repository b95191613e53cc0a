// Package notify tells systemd how the service is (sd_notify(3)): ready,
// reloading, stopping, and that it is still well.
//
// Introduced in step 8.
//
// Where no systemd waits for that (the variable NOTIFY_SOCKET is not set) all
// functions do nothing. What can't be told is logged, and is no error: the VPN
// works without. All functions may be called from any goroutine.
package notify

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Ready tells that the service does its work now, or again after Reloading.
func Ready(status string) { send(daemon.SdNotifyReady, statusLine(status)) }

// Reloading tells that the settings are read again. Ready must follow.
func Reloading() {
	send(daemon.SdNotifyReloading, strings.TrimSuffix(daemon.SdNotifyMonotonicUsec(), "\n"))
}

// Stopping tells that the service puts things back, and will end.
func Stopping() { send(daemon.SdNotifyStopping) }

// Status sets the sentence that "systemctl status" shows.
func Status(status string) { send(statusLine(status)) }

// statusLine is the assignment of a status. A line break would begin another one.
func statusLine(status string) string {
	return "STATUS=" + strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, status)
}

func send(lines ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		slog.Warn("systemd could not be notified", "err", err)
	}
}

// Watchdog calls check regularly, and tells systemd that all is well whenever it
// returns nil, until ctx ends. When it does not for as long as the unit's
// WatchdogSec says, systemd kills the service and starts it anew. Without
// WatchdogSec, Watchdog returns at once.
//
// check should see the path that packets take, and must return soon when its
// ctx ends.
func Watchdog(ctx context.Context, check func(ctx context.Context) error) {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		slog.Warn("no watchdog", "err", err)
	}
	if limit == 0 {
		return
	}
	// Three chances within the limit: one check that comes late is no reason to
	// be killed.
	every := limit / 3
	tick := time.NewTicker(every)
	defer tick.Stop()
	for failing := false; ; {
		checkCtx, cancel := context.WithTimeout(ctx, every)
		err := check(checkCtx)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			send(daemon.SdNotifyWatchdog)
		case !failing:
			slog.Warn("the watchdog is not fed: the data path does not work", "err", err, "limit", limit)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
