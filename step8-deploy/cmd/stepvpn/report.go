package main

import (
	"log/slog"
	"net"
	"time"

	"stepvpn/shared/link"
	"stepvpn/step3-tunnel/tunnel"
	"stepvpn/step7-auth/hub"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/status"
)

// This file makes the status reports of client and server, and publish serves them at the
// sockets for status and metrics. (status.go is the command that asks.)

// publish answers at the sockets, each of which may be nil, until the function that it returns
// is called. At the first one it serves the routes, and the report.
func publish(statusAt, metricsAt net.Listener, report func() *status.Report, routes ...control.Route) (stop func()) {
	var stops []func() error
	if statusAt != nil {
		stops = append(stops, control.Serve(statusAt.(*net.UnixListener), append(routes, statusRoute(report))).Close)
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

// started is when this process has started.
var started = time.Now()

// report returns the client's status.
func (n *node) report() *status.Report {
	now := n.supervisor.Status()
	r := newReport("client", now.State.String(), n.cfg.Device, &n.count.Drops)
	r.Reason, r.Cure = now.Reason, now.Cure
	if n.cfg.Metrics.IsValid() {
		r.Listen = []string{keeper.Waits("tcp", n.cfg.Metrics)}
	}
	host := n.keeper.State()
	r.NotLocal, r.KillSwitch, r.Notes = host.NotLocal, host.KillSwitch, host.Notes
	if n.wireguard != nil {
		r.Peers = n.wireguard.Report()
		return r
	}
	session := n.session.Load()
	if now.Session.IsZero() || session == nil {
		return r
	}
	s := session.Status()
	p := status.Peer{
		Name: now.Server.String(), Endpoint: now.Addr, Since: now.Session, Handshake: s.Since,
		Sent:     status.Flow{Packets: n.count.Sent.Packets(), Bytes: n.count.Sent.Bytes()},
		Received: status.Flow{Packets: n.count.Received.Packets(), Bytes: n.count.Received.Bytes()},
	}
	for _, a := range session.Addrs {
		p.Addresses = append(p.Addresses, a.Addr())
	}
	r.Peers = []status.Peer{p}
	return r
}

// serverReport returns the server's status.
func serverReport(cfg *config.Server, clients []hub.Status, count *tunnel.Counters, host hostCheck) *status.Report {
	state, reason, cure := host.state()
	r := newReport("server", state, cfg.Device, &count.Drops)
	r.Reason, r.Cure = reason, cure
	for _, network := range cfg.Transports {
		for _, at := range cfg.Listen {
			r.Listen = append(r.Listen, keeper.Waits(network, at))
		}
	}
	if cfg.Metrics.IsValid() {
		r.Listen = append(r.Listen, keeper.Waits("tcp", cfg.Metrics))
	}
	for _, c := range clients {
		r.Peers = append(r.Peers, status.Peer{
			Name: c.Name, Addresses: c.Addrs, Endpoint: c.Endpoint, Handshake: c.Handshake, NextKey: c.By != "",
			Sent:     status.Flow{Packets: c.SentPackets, Bytes: c.SentBytes},
			Received: status.Flow{Packets: c.ReceivedPackets, Bytes: c.ReceivedBytes},
		})
	}
	return r
}
