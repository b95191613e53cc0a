// Package watch tells when something on this host has changed, so that the code that keeps
// the host as it should be can look. Introduced in step 8.
package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Events come in bunches. They are reported once when there was none for Quiet, or after
// Bunch at the latest.
const (
	Quiet = 200 * time.Millisecond
	Bunch = 2 * time.Second
)

// Netlink calls changed whenever the kernel sends one of the groups a relevant message, until
// ctx ends. It also calls changed at the beginning, for changes just before, and when there
// were so many messages that some were lost.
func Netlink(ctx context.Context, protocol int, relevant func([]syscall.NetlinkMessage) bool, changed func(), groups ...uint) error {
	socket, err := nl.Subscribe(protocol, groups...)
	if err != nil {
		return fmt.Errorf("watching this host: %w", err)
	}
	stop := context.AfterFunc(ctx, socket.Close)
	defer func() {
		if stop() {
			socket.Close()
		}
	}()

	events := make(chan struct{}, 1)
	events <- struct{}{}
	collected := make(chan struct{})
	go func() { collect(events, changed); close(collected) }()
	defer func() { close(events); <-collected }()
	for {
		messages, from, err := socket.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS): // so many changes that some were lost
		case errors.Is(err, os.ErrClosed):
			return err
		case err != nil:
			return fmt.Errorf("watching this host: %w", err)
		case from.Pid != nl.PidKernel || !relevant(messages):
			continue
		}
		select {
		case events <- struct{}{}:
		default: // one is waiting already
		}
	}
}

// collect calls changed once for a bunch of events, until the channel is closed.
func collect(events <-chan struct{}, changed func()) {
	for range events {
		latest := time.NewTimer(Bunch)
		for more := true; more; {
			select {
			case _, open := <-events:
				if !open {
					return
				}
			case <-time.After(Quiet):
				more = false
			case <-latest.C:
				more = false
			}
		}
		latest.Stop()
		changed()
	}
}
