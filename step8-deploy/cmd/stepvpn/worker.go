package main

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"

	"stepvpn/shared/app"
	"stepvpn/shared/link"
	"stepvpn/step3-tunnel/tunnel"
	"stepvpn/step5-nat/route"
	"stepvpn/step7-auth/join"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/further/wireguard"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/liveness"
	"stepvpn/step8-deploy/notify"
	"stepvpn/step8-deploy/status"
	"stepvpn/step8-deploy/supervise"
)

// worker is the command of a client's unprivileged process, which connects to servers again
// and again. The keeper (client.go) or systemd starts it.
var worker = app.Command{
	Name:  "worker client",
	About: "The half of a client that reads everything from the network, and has no privileges. 'client' or systemd starts it.",
	Setup: func() func(context.Context, []string) error {
		socket := keeperFlag()
		return func(ctx context.Context, _ []string) error { return runWorker(ctx, *socket) }
	},
}

// A node has what this client needs to connect, again and again. When the settings are read
// again, another node takes its place.
type node struct {
	keeper.Settings // which the keeper has read, with the keys
	cfg             *config.Client
	asked           context.Context // ends when the program is asked to stop
	stopping        context.Context // and also when its keeper is gone
	keeper          *keeper.Remote  // whose methods ask the other process
	carrier         *carrier        // moves packets between device and session, see carry.go
	count           *tunnel.Counters
	network         func(link.Link) link.Link    // has the watchdog see how a socket does
	session         atomic.Pointer[join.Session] // the latest one
	keys            serverKeys                   // by which of its keys to ask each server
	wireguard       *wireguard.Client            // nil: our own protocol
	happens         *news                        // what readers of the status socket are told

	supervisor supervisor
	ctx        context.Context // ends when another node has taken its place
	replace    context.CancelFunc
}

// A supervisor keeps this client connected: a supervise.Supervisor, or a wireguard.Client, which
// has one for each server.
type supervisor interface {
	Run(ctx context.Context) error
	NetworkChanged()
	ClockJumped()
	Judge(reason, cure string)
	Status() supervise.Status
}

// runWorker gets the settings from the keeper, and connects with them until ctx ends or the
// keeper is gone.
func runWorker(ctx context.Context, socket string) error {
	var watch liveness.Monitor
	var count tunnel.Counters
	var now atomic.Pointer[node]
	happens := newNews()

	conn, err := connectKeeper(ctx, socket)
	if err != nil {
		return err
	}
	host := keeper.NewRemote(conn, func() { reload(&now) })
	asked := ctx
	ctx, cancel := context.WithCancel(asked)
	defer cancel()
	go func() { <-host.Gone(); cancel() }()
	settings, statusAt, metricsAt, err := host.Settings()
	if err != nil {
		return err
	}
	n := &node{asked: asked, stopping: ctx, keeper: host, count: &count, carrier: newCarrier(host, &count, &watch), network: watch.Network, happens: happens}
	defer n.carrier.close()
	n.use(settings)
	now.Store(n)
	notify.Ready("")

	// The worker answers at the sockets for status and metrics (publish, in report.go), tells the supervisor what happens
	// to the host, and tells systemd that packets are still being moved...
	report := func() *status.Report { return now.Load().report() }
	defer publish(statusAt, metricsAt, report, happens.Route())()
	go supervise.WatchClock(ctx, func() { now.Load().supervisor.ClockJumped() })
	go watched(func() error {
		return supervise.WatchNetwork(ctx, n.cfg.Device, func() { now.Load().supervisor.NetworkChanged() })
	})
	go notify.Watchdog(ctx, func(context.Context) error {
		report() // the supervisor answers
		return watch.Check()
	})
	defer notify.Stopping()
	defer app.ReportStats(count.String)()

	// ...and connects, as often as necessary: Run calls connect for each attempt. Run also
	// returns when reload has put another node in the place of this one.
	for {
		err = n.supervisor.Run(n.ctx)
		next := now.Load()
		if next == n || ctx.Err() != nil {
			return err
		}
		n = next
	}
}

// use takes over settings, and makes a supervisor for them. Resolve looks up a server's name
// outside of the tunnel. tell, in health.go, logs each new status, and has the keeper tell it to
// systemd.
func (n *node) use(s *keeper.Settings) {
	n.Settings, n.cfg = *s, s.Client
	n.keys = serverKeys{own: s.Identity.ServerKey, learned: s.Learned}
	n.ctx, n.replace = context.WithCancel(n.stopping)
	if n.cfg.WireGuard != nil {
		n.useWireGuard()
		return
	}
	n.supervisor = supervise.New(supervise.Config{
		Servers: n.cfg.Servers,
		Resolve: n.resolve,
		Connect: n.connect,
		Route:   routeTo,
		Changed: n.tell(),
		Judged:  true,
	})
}

// routeTo says by which way packets to a server leave.
func routeTo(server netip.AddrPort) (string, error) {
	return supervise.RouteTo(server.Addr(), route.FwMark)
}

// tell returns a function that passes each new status on.
func (n *node) tell() func(supervise.Status) {
	return tell(func(now supervise.Status) {
		n.happens.state(now.State.String(), now.Reason)
		n.keeper.Notify(keeper.Notice{Ready: now.State == supervise.Up, Status: now.String()})
	})
}

// watched runs watch, and logs when it fails.
func watched(watch func() error) {
	if err := watch(); err != nil {
		slog.Error("changes to this host are no longer noticed", "error", err)
	}
}
