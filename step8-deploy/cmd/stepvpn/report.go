package main

import (
	"log/slog"
	"net"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step8-deploy/status"
)

var started = time.Now()

// newReport returns the part of a report that all daemons have.
func newReport(role, state, device string, drops *link.Drops) *status.Report {
	r := &status.Report{
		Role: role, Version: release, Now: time.Now(), Started: started,
		State: state, Device: device, Drops: drops.Counts(),
	}
	if itf, err := net.InterfaceByName(device); err == nil {
		r.MTU = itf.MTU
	}
	return r
}

// publish answers at the sockets, each of which may be nil, until the function that it returns
// is called.
func publish(statusAt, metricsAt net.Listener, report func() *status.Report) (stop func()) {
	var stops []func() error
	if statusAt != nil {
		stops = append(stops, status.Serve(statusAt, report).Close)
	}
	if metricsAt != nil {
		stops = append(stops, status.ServeMetrics(metricsAt, report))
	}
	return func() {
		for _, stop := range stops {
			if err := stop(); err != nil {
				slog.Warn("closing the status socket has failed", "error", err)
			}
		}
	}
}
