package relay

import (
	"context"
	"log/slog"
	"net"
	"time"
)

// The pause after an error of accept doubles from the one to the other.
const (
	firstPause = 5 * time.Millisecond
	maxPause   = time.Second
)

// accept hands on connections until ctx ends. An error, such as too many open
// files, passes when other connections close; until then accept tries again,
// less and less often.
func accept(ctx context.Context, next func() (*net.TCPConn, error), arrivals chan<- *net.TCPConn) {
	pause := firstPause
	for {
		conn, err := next()
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			slog.Warn("can't accept a connection now", "err", err, "try again in", pause)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			pause = min(2*pause, maxPause)
			continue
		}
		pause = firstPause
		select {
		case arrivals <- conn:
		case <-ctx.Done():
			conn.Close()
			return
		}
	}
}
