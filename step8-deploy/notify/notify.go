// Package notify tells systemd about the state of the service (sd_notify(3)): ready,
// reloading, stopping, or still working.
//
// Introduced in step 8.
//
// If systemd does not expect that (the variable NOTIFY_SOCKET is not set), all functions do
// nothing. Failures are only logged, as the VPN works without this. All functions are safe
// for concurrent use.
package notify

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Ready says that the service has started, or has finished Reloading. With "", its status stays
// as it is.
func Ready(status string) {
	if status == "" {
		send(daemon.SdNotifyReady)
		return
	}
	send(daemon.SdNotifyReady, statusLine(status))
}

// Reloading says that the service is reading its settings again. Ready must follow.
func Reloading() {
	send(daemon.SdNotifyReloading, strings.TrimSuffix(daemon.SdNotifyMonotonicUsec(), "\n"))
}

// Stopping says that the service is putting things back, and will end.
func Stopping() { send(daemon.SdNotifyStopping) }

// Status sets the sentence that "systemctl status" shows.
func Status(status string) { send(statusLine(status)) }

// statusLine returns the assignment of a status, without line breaks, as those would begin
// another assignment.
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

// Watchdog calls check regularly, and tells systemd that the service works whenever check
// returns nil, until ctx ends. If that does not happen for as long as the unit's WatchdogSec
// says, systemd kills the service and restarts it. Without WatchdogSec, Watchdog returns at
// once.
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
	// There are three checks within the limit, so that a single late one does not get the
	// service killed.
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
