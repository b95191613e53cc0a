package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"stepvpn/shared/app"
	"stepvpn/shared/link"
	"stepvpn/step3-tunnel/transport"
	"stepvpn/step3-tunnel/tunnel"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/push"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step7-auth/join"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/fast"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/liveness"
	"stepvpn/step8-deploy/notify"
	"stepvpn/step8-deploy/pathmtu"
	"stepvpn/step8-deploy/routes"
	"stepvpn/step8-deploy/status"
	"stepvpn/step8-deploy/supervise"
	"stepvpn/step8-deploy/takeover"
)

var worker = app.Command{
	Name:  "worker client",
	About: "The half of 'client', which starts it, that reads everything from the network and has no privileges.",
	Setup: func() func(context.Context, []string) error {
		socket := keeperFlag()
		return func(ctx context.Context, _ []string) error { return runWorker(ctx, *socket) }
	},
}

// A node has what this client needs to connect, again and again. When the settings are read
// again, another node takes its place.
type node struct {
	keeper.Settings
	cfg      *config.Client
	asked    context.Context // ends when the program is asked to stop
	stopping context.Context // and also when its keeper is gone
	keeper   *keeper.Remote
	carrier  *carrier
	count    *tunnel.Counters
	network  func(link.Link) link.Link    // see liveness.Monitor
	session  atomic.Pointer[join.Session] // the latest one
	keys     serverKeys                   // which of its keys each server is asked by

	supervisor *supervise.Supervisor
	ctx        context.Context // ends when another node has taken its place
	replace    context.CancelFunc
}

func runWorker(ctx context.Context, socket string) error {
	var watch liveness.Monitor
	var count tunnel.Counters
	var now atomic.Pointer[node]

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
	n := &node{asked: asked, stopping: ctx, keeper: host, count: &count, carrier: newCarrier(host, &count, &watch), network: watch.Network}
	defer n.carrier.close()
	n.use(settings)
	now.Store(n)
	notify.Ready("")

	// The worker reports its status...
	report := func() *status.Report { return now.Load().report() }
	defer publish(statusAt, metricsAt, report)()
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

	// ...and connects, as often as necessary.
	for {
		err = n.supervisor.Run(n.ctx)
		next := now.Load()
		if next == n || ctx.Err() != nil {
			return err
		}
		n = next
	}
}

// watched runs watch, and logs when it fails.
func watched(watch func() error) {
	if err := watch(); err != nil {
		slog.Error("changes to this host are no longer noticed", "error", err)
	}
}

// use takes over settings.
func (n *node) use(s *keeper.Settings) {
	n.Settings, n.cfg = *s, s.Client
	n.keys = serverKeys{own: s.Identity.ServerKey, learned: s.Learned}
	n.ctx, n.replace = context.WithCancel(n.stopping)
	n.supervisor = supervise.New(supervise.Config{
		Servers: n.cfg.Servers,
		Resolve: n.resolve,
		Connect: n.connect,
		Route:   func(server netip.AddrPort) (string, error) { return supervise.RouteTo(server.Addr(), route.FwMark) },
		Changed: tell(func(status string) { n.keeper.Notify(keeper.Notice{Status: status}) }),
		Judged:  true,
	})
}

// reload reads the settings again. A mistake in them changes nothing. If they have changed,
// the client reconnects, while the keeper's changes to the host stay in place.
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
	next := &node{asked: old.asked, stopping: old.stopping, keeper: old.keeper, carrier: old.carrier, count: old.count, network: old.network}
	next.use(settings)
	now.Store(next)
	old.replace()
}

// resolve looks up a server's address in the underlay.
func (n *node) resolve(ctx context.Context, name string) ([]netip.Addr, error) {
	servers, err := n.keeper.Nameservers()
	if err != nil {
		return nil, err
	}
	var attempts []*keeper.Attempt
	var mu sync.Mutex
	defer func() {
		for _, a := range attempts {
			a.Close()
		}
	}()
	r := supervise.Resolver{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		a := n.keeper.Attempt()
		mu.Lock()
		attempts = append(attempts, a)
		mu.Unlock()
		return a.DialContext(ctx, network, address)
	}}
	for _, a := range servers {
		r.Nameservers = append(r.Nameservers, netip.AddrPortFrom(a, 53))
	}
	return r.Lookup(ctx, name)
}

// connect opens a session with a server, and returns when the session has ended.
func (n *node) connect(ctx context.Context, server netip.AddrPort, up func()) error {
	own := n.keeper.Attempt()
	defer own.Close()
	conn, err := fast.Dial(n.cfg.Transport, server, n.cfg.Offloads, transport.Options{Drops: &n.count.Drops, Dial: own.DialContext})
	if err != nil {
		return err
	}
	path := pathmtu.New()
	by := n.keys.of(server)
	identity := n.Identity
	identity.ServerKey = by
	session, err := join.Client(ctx, cookie.Client(n.network(conn), by, &n.count.Drops), join.Config{
		Handshake: identity.Handshake(),
		User:      n.User, Password: n.Password,
		Instance:  n.Instance,
		OnControl: path.Control,
		Drops:     &n.count.Drops,
		Keepalive: keepalive(n.cfg.Keepalive),
		MTU:       pathmtu.Safe,
	})
	if err != nil {
		if ctx.Err() == nil || errors.Is(context.Cause(ctx), supervise.ErrSilence) {
			n.keys.failed(server)
		}
		return verdict(err)
	}
	defer session.Close()
	if n.learn(server, by, session.Settings) {
		conn.Close() // without telling the server: the next session continues this one
		return errNewerKey
	}
	settings, err := push.Parse(session.Settings)
	if err != nil {
		return err
	}
	pushed, err := routes.Parse(session.Settings)
	if err != nil {
		return err
	}
	terms := takeover.Terms{
		Server: server, Addrs: session.Addrs, Settings: settings, Routes: pushed,
		MTU: conn.MTU().Less(secure.Overhead, "encryption").Or(n.cfg.MTU).Size,
	}
	if err := n.carrier.take(terms, n.cfg.Offloads); err != nil {
		return err
	}
	defer n.fit(path, pathmtu.Config{Server: server, Computed: terms.MTU, Session: session})()
	n.session.Store(session)
	up()
	defer n.prove(session, settings.DNS)()
	return n.untilLost(ctx, session, conn)
}

// fit makes packets as long as the path carries, from now on until stop is called. A size that
// the operator has set stays, and over TCP none needs to be found; the server is told these,
// too.
func (n *node) fit(path *pathmtu.Path, cfg pathmtu.Config) (stop func()) {
	cfg.Found = func(size int) {
		if err := n.keeper.Fit(size); err != nil {
			slog.Warn("packets can't be made to fit the path", "error", err)
		}
	}
	cfg.Fixed = n.cfg.MTU != 0 || n.cfg.Transport != transport.UDP
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() { path.Watch(ctx, cfg) })
	return func() {
		cancel()
		watching.Wait()
	}
}

// lostInterval is how often to check whether a session's server still answers.
const lostInterval = time.Second

// untilLost moves packets through a session over conn until it ends, its server does not
// answer any more, or ctx ends. It tells the server only when the program is stopped:
// otherwise the next session continues this one, and the server must not forget the
// connections of our users' programs.
func (n *node) untilLost(outer context.Context, session *join.Session, conn link.Link) error {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(outer))
	var ending sync.Mutex
	end := func(why error) {
		ending.Lock()
		defer ending.Unlock()
		if n.asked.Err() == nil {
			conn.Close() // before the session is closed, which would tell the server
		}
		cancel(why)
	}
	defer cancel(nil)
	defer context.AfterFunc(outer, func() { end(context.Cause(outer)) })()
	go func() {
		for tick := time.Tick(lostInterval); ctx.Err() == nil; {
			select {
			case <-ctx.Done():
			case <-tick:
				if session.Status().Lost {
					end(errLost)
				}
			}
		}
	}()
	err := n.carrier.carry(ctx, session, n.cfg.Offloads)
	ending.Lock() // if a closed conn has ended it, wait for the reason
	defer ending.Unlock()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return verdict(err)
}

var errLost = errors.New("the server does not answer any more")

// verdict marks an error by which the server has refused this client for good.
func verdict(err error) error {
	if why, ok := errors.AsType[*secure.Rejected](err); ok && why.Final {
		return supervise.Refused(app.Hint(err, "Ask the server's owner. The client asks again by itself after 5 minutes."))
	}
	if errors.Is(err, secure.ErrUnread) {
		return app.Hint(secure.ErrUnread, "Check the settings psk and psk_file: the server's owner knows whether this client has a key of its own.")
	}
	return err
}

// keepalive translates "off", which is 0 in the settings.
func keepalive(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

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
