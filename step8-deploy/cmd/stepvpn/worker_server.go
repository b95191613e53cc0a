package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step3-tunnel/tunnel"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step6-dns/push"
	"stepvpn/step6-dns/resolver"
	"stepvpn/step7-auth/admission"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step7-auth/hub"
	"stepvpn/step7-auth/identity"
	"stepvpn/step7-auth/pool"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/fast"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/lastseen"
	"stepvpn/step8-deploy/liveness"
	"stepvpn/step8-deploy/notify"
	"stepvpn/step8-deploy/pathmtu"
	"stepvpn/step8-deploy/routes"
	"stepvpn/step8-deploy/status"
)

// serverWorker is the command of a server's unprivileged process, which does what step 7's
// server does. The keeper (server.go) or systemd starts it.
var serverWorker = app.Command{
	Name:  "worker server",
	About: "The half of a server that reads everything from the network, and has no privileges. 'server' or systemd starts it.",
	Setup: func() func(context.Context, []string) error {
		socket := keeperFlag()
		return func(ctx context.Context, _ []string) error { return runServerWorker(ctx, *socket) }
	},
}

// runServerWorker is what the server of step 7 does. Whatever needs a privilege has been done
// by the keeper (runServer), or is asked of it.
func runServerWorker(ctx context.Context, socket string) (err error) {
	var count tunnel.Counters
	var watch liveness.Monitor
	var undo app.Undo
	defer undo.All(&err)

	var admits atomic.Pointer[admission.Controller]
	happens := newNews()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := connectKeeper(ctx, socket)
	if err != nil {
		return err
	}
	host := keeper.NewRemoteServer(conn, func() {
		if a := admits.Load(); a != nil {
			a.Reload()
		}
	}, happens.Add)
	go func() { <-host.Gone(); cancel() }()
	given, err := host.Settings()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			host.Fail(err)
		}
	}()
	cfg := given.Server
	// Use as many processors as there are queues: on more, the two directions of a queue
	// would only wake each other up. The others are for the kernel, which has as much to do.
	runtime.GOMAXPROCS(fast.Spread(cfg.Queues))
	settings, err := settingsOf(cfg)
	if err != nil {
		return err
	}
	change := keyChangeOf(given)
	forgotten := forgetting(host)
	undo.Add(forgotten.Close, nil)
	admitted, err := admission.Open(admission.Config{
		Registry: cfg.Clients, Copy: given.Path(keeper.RegistryName),
		Pool:   pool.Config{Addrs: slices.Concat(cfg.Subnets, given.Off), State: given.Path(keeper.LeasesName), Grace: pool.DefaultGrace},
		Forget: func(gone []netip.Addr) error { forgotten.Put(struct{}{}, gone...); return nil },
	})
	if err != nil {
		return err
	}
	undo.Add(admitted.Close, nil)
	admits.Store(admitted)
	seen := lastseen.Open(given.Path(keeper.SeenName), func(key noise.PublicKey) bool {
		_, known := admitted.Registry().ByKey(key)
		return known
	})

	limited := limitsOf(given, admitted, &count.Drops)
	defer limited.Save()

	phones := phonesOf(given, admitted)
	undo.Add(phones.close, nil)

	paths := pathmtu.NewBounds(host.Bound)
	undo.Add(paths.Close, nil)

	// One end is a socket for each address and transport, or several, the other one a
	// queue of the TUN device for each...
	queues, err := queuesOf(given, &count, &watch)
	if err != nil {
		return err
	}
	defer closeQueues(queues)

	used := usageOf(given)

	// ...between them there is a hub, which has a session with each client that it lets in.
	handshake, other := handshakesOf(given.Key, given.PSK)
	cookies := cookie.NewServer(handshake.Static.Public(), &count.Drops)
	clients, err := hub.New(hub.Config{
		Handshake: handshake, Other: &other, Addrs: cfg.Subnets, Settings: change.tell(settings), MTU: pathmtu.Safe,
		Entrances:  append(change.entrance(settings, cookies), phones.entrance(cookies)...),
		Admission:  gate{admitted, cfg.Subnets, seen, host, change, limited, paths},
		Check:      cookies.Check,
		Held:       limited.Held(),
		Control:    pathmtu.Control(given.MTU, paths.Set),
		Ended:      used.Ended,
		Events:     happens.hub,
		MaxClients: cfg.MaxClients, ClientToClient: cfg.ClientToClient, Idle: cfg.IdleTimeout,
		Count: &count,
	})
	if err != nil {
		return err
	}
	look := func() {
		for _, c := range clients.Snapshot() {
			if c.LoggedIn {
				seen.Note(c.Key, time.Now(), change.key(c.By))
			}
		}
	}
	defer used.Start(clients.Snapshot)()
	defer func() { look(); seen.Save() }() // with the clients that are there when Run ends
	go seen.Run(ctx, look)

	// ...and a resolver looks up names for the clients, each of which has a share of it.
	names := fmt.Stringer(noNames{})
	if cfg.DNS {
		c := keeper.ResolverOf(cfg, given.Device)
		c.Client = clients.ClientAt
		r, err := resolver.Serve(c, given.ResolverSockets)
		if err != nil {
			return err
		}
		defer r.Close()
		names = r
	}

	go admitted.Run(ctx, clients.Cut)
	go phones.watch(ctx, clients)
	go limited.Run(ctx, clients)

	// The worker reports its status, and runs.
	now := func() ([]hub.Status, *status.Report) {
		there := clients.Snapshot()
		r := serverReport(cfg, there, &count, host.Problems)
		r.NextKey = change.String()
		phones.report(r, there)
		reportLimits(r, limited, there)
		r.Registry = fmt.Sprintf("%x", admitted.Registry().Digest())
		return there, r
	}
	report := func() *status.Report { _, r := now(); return r }
	defer publish(given.StatusAt, given.MetricsAt, report, append(serverRoutes(admitted.Registry, seen, change, limited, now, happens, used), leasesRoute(given.Path(keeper.LeasesName)))...)()
	go notify.Watchdog(ctx, func(context.Context) error {
		report() // the hub answers
		return watch.Check()
	})
	defer app.ReportStats(func() string { return count.String() + "; names: " + names.String() })()
	defer notify.Stopping()
	slog.Info("server is up", "dev", given.Device, "listen", cfg.Listen, "transports", cfg.Transports, "mtu", given.Sum)
	host.Notify(keeper.Notice{Ready: true, Status: "serving clients"})
	go hostCheck(host.Problems).tell(ctx, func(status string) { host.Notify(keeper.Notice{Status: status}) }, happens.state)
	return clients.Run(ctx, queues...)
}

// handshakesOf returns a server's handshake with most clients, and that with the others: if
// there is a pre-shared key for all, the others are clients without it; if there is none, they
// are clients with a pre-shared key of their own.
func handshakesOf(key noise.PrivateKey, psk *[noise.KeyLen]byte) (most, others noise.Config) {
	most, others = identity.KeyHandshake(key, psk), identity.KeyHandshake(key, nil)
	if psk == nil {
		others = identity.KeyHandshake(key, new([noise.KeyLen]byte)) // each client's own key replaces this one
	}
	return most, others
}

// settingsOf returns the encoded settings that the server hands out.
func settingsOf(cfg *config.Server) ([]byte, error) {
	var s push.Settings
	if cfg.DNS {
		s.DNS, s.Search = resolver.At(cfg.Subnets), cfg.DNSSearch
	}
	settings, err := s.Marshal()
	if err != nil || cfg.Routes.Everything {
		return settings, err
	}
	return routes.Append(settings, cfg.Routes.Prefixes)
}

// noNames stands for a resolver that is switched off.
type noNames struct{}

func (noNames) String() string { return "off" }
