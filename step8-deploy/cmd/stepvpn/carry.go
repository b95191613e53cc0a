package main

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"stepvpn/shared/link"
	"stepvpn/step3-tunnel/tunnel"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step8-deploy/fast"
	"stepvpn/step8-deploy/hotswap"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/liveness"
	"stepvpn/step8-deploy/takeover"
)

// A carrier moves packets between the current device and the current session. Both come and
// go.
type carrier struct {
	keeper  *keeper.Remote
	count   *tunnel.Counters
	device  *hotswap.Link
	session *hotswap.Link
	stop    context.CancelFunc
	ended   chan struct{}
	stopped atomic.Bool

	mu     sync.Mutex // guards all below
	terms  takeover.Terms
	index  int // of the device, or 0
	remove context.CancelFunc
	lost   chan struct{} // closed when somebody has deleted the device
}

func newCarrier(k *keeper.Remote, count *tunnel.Counters, watch *liveness.Monitor) *carrier {
	ctx, stop := context.WithCancel(context.Background())
	c := &carrier{
		keeper: k, count: count, stop: stop, ended: make(chan struct{}),
		device: hotswap.New(&count.Drops, link.Unreachable), session: hotswap.New(&count.Drops, secure.NoSession),
		remove: func() {}, lost: make(chan struct{}),
	}
	go func() {
		defer close(c.ended)
		tunnel.Run(ctx, watch.Watch("TUN device", c.device), watch.Watch("session", c.session), count)
	}()
	return c
}

func (c *carrier) close() {
	c.stopped.Store(true)
	c.stop()
	<-c.ended
}

// take makes the keeper take the host over on these terms, and uses its device.
func (c *carrier) take(terms takeover.Terms, offloads bool) error {
	fd, index, err := c.keeper.Take(terms)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.terms = terms
	if index == c.index {
		return unix.Close(fd) // the carrier has this device already
	}
	c.remove()
	dev, err := fast.NewTUN(fd, "the tunnel", fast.TUNOptions{Drops: &c.count.Drops, NoTSO: !offloads, NoGRO: !offloads})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	lost := make(chan struct{})
	c.index, c.remove, c.lost = index, cancel, lost
	go func() {
		err := c.device.Use(ctx, dev)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.index == index {
			c.index = 0
		}
		if ctx.Err() == nil && !c.stopped.Load() {
			slog.Warn("the device of the tunnel is gone", "error", err)
			close(lost)
		}
	}()
	return nil
}

// carry moves packets through a session until it fails or ctx ends. It closes the session,
// and returns why it has ended, or nil if ctx has.
func (c *carrier) carry(ctx context.Context, session link.Link, offloads bool) error {
	if err := c.keeper.SetUp(true); err != nil { // a pause has just begun
		session.Close()
		return err
	}
	defer c.keeper.SetUp(false)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		for {
			c.mu.Lock()
			lost, terms := c.lost, c.terms
			c.mu.Unlock()
			select {
			case <-ctx.Done():
				return
			case <-lost:
			}
			if err := c.take(terms, offloads); err != nil {
				cancel(err)
				return
			}
		}
	}()
	err := c.session.Use(ctx, session)
	if cause := context.Cause(ctx); err == nil && cause != nil && cause != context.Canceled {
		return cause
	}
	return err
}
