// Package accept accepts connections from a listener, and survives temporary errors.
package accept

import (
	"errors"
	"log/slog"
	"net"
	"syscall"
	"time"
)

// The pause after an error doubles from firstPause up to maxPause.
const (
	firstPause = 5 * time.Millisecond
	maxPause   = time.Second
)

// tellEvery is how often an error is logged at most.
const tellEvery = time.Minute

// Loop calls handle with each connection that next returns, in the same goroutine,
// until done or the listener is closed. next is a listener's method Accept or AcceptTCP.
//
// Some errors of next, such as too many open files, disappear when other connections
// close: until then, Loop logs the error once a minute, and tries again at growing
// intervals of up to a second. Loop returns an error only if it is the kind after which
// no connection can come any more. A nil done is never closed; then Loop may return up to a
// second after the listener is closed.
func Loop[C net.Conn](done <-chan struct{}, next func() (C, error), handle func(C)) error {
	pause := firstPause
	var told time.Time
	for {
		conn, err := next()
		if err == nil {
			pause = firstPause
			handle(conn)
			continue
		}
		select {
		case <-done:
			return nil
		default:
		}
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case errors.Is(err, syscall.EINVAL): // the socket no longer listens: accept(2)
			return err
		}
		if now := time.Now(); told.IsZero() || now.Sub(told) >= tellEvery { // clients must not be able to fill the log
			slog.Warn("can't accept a connection now", "err", err, "try again in", pause)
			told = now
		}
		select {
		case <-time.After(pause):
		case <-done:
			return nil
		}
		pause = min(2*pause, maxPause)
	}
}
