package main

import (
	"log/slog"
	"net"
	"reflect"
	"sync/atomic"
)

// reload reads a client's settings again, while it runs. A mistake in them changes nothing. If
// they have changed, the client reconnects, while the keeper's changes to the host stay in
// place.
func reload(now *atomic.Pointer[node]) {
	old := now.Load()
	if old == nil {
		return // another call is reading them right now
	}
	settings, statusAt, metricsAt, err := old.keeper.Settings()
	if err != nil {
		slog.Error("the settings stay as they are", "error", err)
		return
	}
	for _, l := range []net.Listener{statusAt, metricsAt} {
		if l != nil {
			l.Close() // the worker has these sockets already
		}
	}
	if reflect.DeepEqual(settings, &old.Settings) {
		slog.Info("settings read again: they are as before")
		return
	}
	slog.Info("settings read again")
	next := &node{asked: old.asked, stopping: old.stopping, keeper: old.keeper, carrier: old.carrier, count: old.count, network: old.network, happens: old.happens}
	next.use(settings)
	now.Store(next)
	old.replace()
}
