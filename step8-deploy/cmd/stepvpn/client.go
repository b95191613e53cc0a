package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"reflect"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"stepvpn/shared/app"
	"stepvpn/shared/link"
	"stepvpn/step3-tunnel/transport"
	"stepvpn/step3-tunnel/tunnel"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/push"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step7-auth/identity"
	"stepvpn/step7-auth/join"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/fast"
	"stepvpn/step8-deploy/liveness"
	"stepvpn/step8-deploy/notify"
	"stepvpn/step8-deploy/pathmtu"
	"stepvpn/step8-deploy/routes"
	"stepvpn/step8-deploy/status"
	"stepvpn/step8-deploy/supervise"
	"stepvpn/step8-deploy/takeover"
)

var client = app.Command{
	Name:  "client",
	Args:  "FILE",
	About: "Keeps this host connected to a server. What is to go through the tunnel goes through it, or nowhere.",
	Setup: func() func(context.Context, []string) error {
		unit := flag.String("unit", "", "the `unit` of systemd that runs this: the kill switch opens only if that is stopped, not if it is started anew or gets a signal")
		return func(ctx context.Context, args []string) error { return runClient(ctx, args[0], *unit) }
	},
}

// A node is this host as a client: what it needs to connect, once more and again.
// Settings that are read again make another one.
type node struct {
	cfg      *config.Client
	identity identity.Profile
	user     string
	password string
	instance [8]byte         // see join.Config
	stopping context.Context // ends when the program is stopped
	host     *takeover.Host
	count    *tunnel.Counters
	network  func(link.Link) link.Link    // see liveness.Monitor
	session  atomic.Pointer[join.Session] // the last one

	supervisor *supervise.Supervisor
	ctx        context.Context // ends when there is another node in its place
	replace    context.CancelFunc
}

func runClient(ctx context.Context, file, unit string) (err error) {
	var undo app.Undo
	var watch liveness.Monitor
	var count tunnel.Counters
	var now atomic.Pointer[node]
	defer undo.All(&err)

	cfg, err := config.LoadClient(file)
	if err != nil {
		return err
	}
	host := takeover.New(cfg, &count, fast.Device(cfg.Offloads), watch.Watch)
	n := &node{stopping: ctx, host: host, count: &count, network: watch.Network}
	rand.Read(n.instance[:])
	if err := n.use(cfg); err != nil {
		return err
	}
	now.Store(n)
	app.OnHangup(func() { reload(file, &now) })
	warnOfSecond(ctx)

	// It tells how it is. What can fail comes first, while nothing of the host is taken...
	report := func() *status.Report { return now.Load().report() }
	if err := undo.Add(publish(cfg.StatusSocket, cfg.Metrics, report)); err != nil {
		return err
	}

	// ...then nothing leaves this host any more but through the tunnel...
	if err := host.Begin(); err != nil {
		return err
	}
	undo.Add(func() error { return giveBack(host, ctx.Err() != nil && isStop(unit)) }, nil)
	go supervise.WatchClock(ctx, func() { now.Load().supervisor.ClockJumped() })
	go watched(func() error {
		return supervise.WatchNetwork(ctx, cfg.Device, func() {
			host.NetworkChanged()
			now.Load().supervisor.NetworkChanged()
		})
	})
	go watched(func() error { return supervise.WatchRules(ctx, host.HostChanged) })
	go notify.Watchdog(ctx, func(context.Context) error {
		report() // the supervisor answers
		return watch.Check()
	})
	defer notify.Stopping()
	defer app.ReportStats(count.String)()

	// ...which is connected, as soon and as often as it takes. To systemd it is ready
	// before: what must be shut is shut, and the server may be away for long.
	notify.Ready("starting")
	for {
		err = n.supervisor.Run(n.ctx)
		next := now.Load()
		if next == n || ctx.Err() != nil {
			return err
		}
		n = next
		if err := host.Reconfigure(n.cfg); err != nil {
			slog.Error("the settings that were read again can't be carried out", "error", err)
		}
	}
}

// watched tells the log when it is not any more.
func watched(watch func() error) {
	if err := watch(); err != nil {
		slog.Error("changes of this host by others are not noticed any more", "error", err)
	}
}

// warnOfSecond says what a second signal would leave, once the first has ended ctx and
// the host is being put back. A third one ends the program. It listens from now on: a
// second signal that comes close behind the first must not end the program, either.
func warnOfSecond(ctx context.Context) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		<-signals // the first
		<-signals
		slog.Warn("this host is being put back: one more signal ends that, and then 'stepvpn recover' does the rest")
		signal.Stop(signals)
	})
}

// giveBack puts the host back as it was. The kill switch opens only when the operator
// has said so.
func giveBack(host *takeover.Host, open bool) error {
	if open {
		return host.End()
	}
	return host.Leave()
}

// use takes settings, and the secrets that they name.
func (n *node) use(cfg *config.Client) error {
	n.cfg = cfg
	if err := n.identify(); err != nil {
		return err
	}
	n.ctx, n.replace = context.WithCancel(n.stopping)
	n.supervisor = supervise.New(supervise.Config{
		Servers: cfg.Servers,
		Resolve: n.resolve,
		Connect: n.connect,
		Route:   func(server netip.AddrPort) (string, error) { return supervise.RouteTo(server, route.Mark) },
		Changed: tell(),
		Judged:  true,
	})
	return nil
}

// reload reads the settings again. A mistake in them changes nothing. If they are
// other ones the client connects anew, behind what is taken of the host.
func reload(file string, now *atomic.Pointer[node]) {
	old := now.Load()
	cfg, err := config.LoadClient(file)
	next := &node{stopping: old.stopping, instance: old.instance, host: old.host, count: old.count, network: old.network}
	if err == nil {
		for _, key := range cfg.Keep(old.cfg) {
			slog.Warn("this setting has changed, which takes a restart", "key", key)
		}
		err = next.use(cfg)
	}
	if err != nil {
		slog.Error("the settings stay as they are", "error", err)
		return
	}
	if reflect.DeepEqual(cfg, old.cfg) && next.sameIdentity(old) {
		slog.Info("settings read again: they are as before")
		return
	}
	slog.Info("settings read again")
	now.Store(next)
	old.replace()
}

// sameIdentity tells whether two are the same client for a server.
func (n *node) sameIdentity(other *node) bool {
	return reflect.DeepEqual(n.identity, other.identity) && n.user == other.user && n.password == other.password
}

// identify reads the secrets that the settings name.
func (n *node) identify() error {
	key, err1 := n.cfg.OwnKey()
	psk, err2 := n.cfg.PresharedKey()
	user, password, err3 := n.cfg.UserPassword()
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	n.identity = identity.Profile{PrivateKey: key, ServerKey: noise.PublicKey(n.cfg.ServerKey)}
	if psk != ([config.KeySize]byte{}) {
		n.identity.PresharedKey = &psk
	}
	n.user, n.password = user, password
	return nil
}

// resolve asks for a server's address in the underlay.
func (n *node) resolve(ctx context.Context, name string) ([]netip.Addr, error) {
	servers, err := n.host.Nameservers()
	if err != nil {
		return nil, err
	}
	r := supervise.Resolver{Dial: supervise.Outside}
	for _, a := range servers {
		r.Nameservers = append(r.Nameservers, netip.AddrPortFrom(a, 53))
	}
	return r.Lookup(ctx, name)
}

// connect has one session with a server, from its beginning to its end.
func (n *node) connect(ctx context.Context, server netip.AddrPort, up func()) error {
	own := n.host.Socket()
	defer own.Close()
	conn, err := fast.Dial(n.cfg.Transport, server, n.cfg.Offloads, transport.Options{Drops: &n.count.Drops, Control: own.Control})
	if err != nil {
		return err
	}
	path := pathmtu.New()
	session, err := join.Client(ctx, cookie.Client(n.network(conn), noise.PublicKey(n.cfg.ServerKey), &n.count.Drops), join.Config{
		Handshake: n.identity.Handshake(),
		User:      n.user, Password: n.password,
		Instance:  n.instance,
		OnControl: path.Control,
		Drops:     &n.count.Drops,
		Keepalive: keepalive(n.cfg.Keepalive),
		MTU:       pathmtu.Safe,
	})
	if err != nil {
		return verdict(err)
	}
	defer session.Close()
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
	if err := n.host.Take(terms); err != nil {
		return err
	}
	defer n.fit(path, pathmtu.Config{Server: server, Computed: terms.MTU, Session: session})()
	n.session.Store(session)
	up()
	defer n.prove(session, settings.DNS)()
	return n.untilLost(ctx, session, conn)
}

// fit has packets be as long as the path carries, from now on until stop is called.
// A size that is set by hand stays, and TCP finds the path's by itself.
func (n *node) fit(path *pathmtu.Path, cfg pathmtu.Config) (stop func()) {
	cfg.Found = func(size int) {
		if err := n.host.Fit(size); err != nil {
			slog.Warn("packets can't be made to fit the path", "error", err)
		}
	}
	if n.cfg.MTU != 0 || n.cfg.Transport != transport.UDP {
		pathmtu.Fix(cfg)
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() { path.Watch(ctx, cfg) })
	return func() {
		cancel()
		watching.Wait()
	}
}

// lostInterval is how often a session is asked whether its server answers.
const lostInterval = time.Second

// untilLost moves packets through a session over conn until it ends, its server does
// not answer any more, or ctx ends. Only when the program is stopped the server is
// told: another session will go on where this one ends, and with a farewell the
// server would forget the connections of our users' programs.
func (n *node) untilLost(outer context.Context, session *join.Session, conn link.Link) error {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(outer))
	var ending sync.Mutex
	end := func(why error) {
		ending.Lock()
		defer ending.Unlock()
		if n.stopping.Err() == nil {
			conn.Close() // before anybody closes the session, which would say farewell
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
	err := n.host.Carry(ctx, session)
	ending.Lock() // if it ended by a closed conn, the reason follows
	defer ending.Unlock()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return verdict(err)
}

var errLost = errors.New("the server does not answer any more")

// verdict tells the supervisor whether the server has said no for good.
func verdict(err error) error {
	if why, ok := errors.AsType[*secure.Rejected](err); ok && why.Final {
		return supervise.Refused(app.Hint(err, "Ask the server's owner; it is asked again by itself, after 5 minutes."))
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

// report says how the client is.
func (n *node) report() *status.Report {
	now := n.supervisor.Status()
	r := newReport("client", now.State.String(), n.cfg.Device, &n.count.Drops)
	r.Reason, r.Cure = now.Reason, now.Cure
	for _, c := range n.host.Claims() {
		r.NotLocal = append(r.NotLocal, c.String())
	}
	r.KillSwitch = n.host.KillSwitch()
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
