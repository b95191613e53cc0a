package main

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step8-deploy/status"
)

var started = time.Now()

// newReport begins a report of a daemon.
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

// publish answers at the status socket, and to Prometheus, if the settings name
// them. The function that it returns ends that.
func publish(socket string, metrics netip.AddrPort, report func() *status.Report) (stop func() error, err error) {
	var stops []func() error
	stop = func() error {
		var errs []error
		for _, s := range stops {
			errs = append(errs, s())
		}
		return errors.Join(errs...)
	}
	if socket != "" {
		s, err := status.Serve(socket, report)
		if err != nil {
			return nil, err
		}
		stops = append(stops, s.Close)
	}
	if metrics.IsValid() {
		_, closeAll, err := status.ServeMetrics(metrics, report)
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		stops = append(stops, closeAll)
	}
	return stop, nil
}
