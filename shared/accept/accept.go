// Package accept takes connections from a listener, and lives through what passes.
package accept

import (
	"errors"
	"log/slog"
	"net"
	"syscall"
	"time"
)

// The pause after an error doubles from the one to the other.
const (
	firstPause = 5 * time.Millisecond
	maxPause   = time.Second
)

// tellEvery is how often the log says so.
const tellEvery = time.Minute

// Loop calls handle with each connection that next returns, in the same goroutine,
// until done is closed or the listener is. next is the method Accept of a listener, or
// AcceptTCP.
//
// An error of next, such as too many open files, passes when other connections close:
// until then Loop says so in the log, once a minute, and tries again, less and less often. Only one
// after which there can be no other connection ends it, and is returned. A nil done is
// never closed; then Loop may return up to a second after the listener is closed.
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
		case errors.Is(err, syscall.EINVAL): // it does not listen any more: accept(2)
			return err
		}
		if now := time.Now(); told.IsZero() || now.Sub(told) >= tellEvery { // who connects must not fill the log
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
