package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"stepvpn/shared/app"
	"stepvpn/shared/link"
	"stepvpn/step3-tunnel/transport"
	"stepvpn/step3-tunnel/tunnel"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step6-dns/push"
	"stepvpn/step6-dns/resolver"
	"stepvpn/step7-auth/admission"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step7-auth/hub"
	"stepvpn/step7-auth/identity"
	"stepvpn/step7-auth/pool"
	"stepvpn/step8-deploy/beside"
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

var serverWorker = app.Command{
	Name:  "worker server",
	About: "The half of 'server', which starts it, that reads everything from the network and has no privileges.",
	Setup: func() func(context.Context, []string) error {
		socket := keeperFlag()
		return func(ctx context.Context, _ []string) error { return runServerWorker(ctx, *socket) }
	},
}

func runServerWorker(ctx context.Context, socket string) (err error) {
	var count tunnel.Counters
	var watch liveness.Monitor
	var undo app.Undo
	defer undo.All(&err)

	var admits atomic.Pointer[admission.Controller]
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
	})
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
	// Looking through 150,000 connections takes most of a second, in which no client would get
	// in: so do it in the background.
	forgotten := beside.New(0, func(gone map[netip.Addr]struct{}) {
		if err := host.Forget(slices.Collect(maps.Keys(gone))); err != nil {
			slog.Warn("could not clean up after a client", "error", err)
		}
	})
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

	paths := pathmtu.NewBounds(host.Bound)
	undo.Add(paths.Close, nil)

	// One end is a socket for each address and transport, or several, the other one a
	// queue of the TUN device for each...
	pairs, err := pairsOf(given, &count, &watch)
	if err != nil {
		return err
	}
	defer closePairs(pairs)

	// ...between them there is a hub, which has a session with each client that it lets in.
	handshake, other := handshakesOf(given.Key, given.PSK)
	cookies := cookie.NewServer(handshake.Static.Public(), &count.Drops)
	clients, err := hub.New(hub.Config{
		Handshake: handshake, Other: &other, Addrs: cfg.Subnets, Settings: change.tell(settings), MTU: pathmtu.Safe,
		Next:       change.entrance(settings, cookies),
		Admission:  servedOnly{admitted, cfg.Subnets, seen, host, change},
		Check:      cookies.Check,
		Control:    pathmtu.Control(given.MTU, paths.Set),
		MaxClients: cfg.MaxClients, ClientToClient: cfg.ClientToClient, Idle: cfg.IdleTimeout,
		Count: &count,
	})
	if err != nil {
		return err
	}
	look := func() {
		for _, c := range clients.Snapshot() {
			if c.LoggedIn {
				seen.Note(c.Key, time.Now(), change.key(c.Next))
			}
		}
	}
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

	// The worker reports its status, and runs.
	report := func() *status.Report {
		r := serverReport(cfg, clients, &count, host.Problems)
		r.NextKey = change.String()
		r.Registry = fmt.Sprintf("%x", admitted.Registry().Digest())
		return r
	}
	defer publish(given.StatusAt, given.MetricsAt, report)()
	go notify.Watchdog(ctx, func(context.Context) error {
		report() // the hub answers
		return watch.Check()
	})
	defer app.ReportStats(func() string { return count.String() + "; names: " + names.String() })()
	defer notify.Stopping()
	slog.Info("server is up", "dev", given.Device, "listen", cfg.Listen, "transports", cfg.Transports, "mtu", given.Sum)
	host.Notify(keeper.Notice{Ready: true, Status: "serving clients"})
	go hostCheck(host.Problems).tell(ctx, func(status string) { host.Notify(keeper.Notice{Status: status}) })
	return clients.Run(ctx, pairs...)
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

// pairsOf makes Links out of the descriptors from the keeper.
//
// Over TCP, all clients may come at the same time, and from behind one NAT: after a restart
// of the server all of them are strangers, and one source gets at most half of the strangers'
// places.
func pairsOf(given *keeper.Handover, count *tunnel.Counters, watch *liveness.Monitor) (pairs []hub.Queue, err error) {
	cfg := given.Server
	for n, sockets := range given.Clients {
		conns, err := fast.Serve(sockets, cfg.Offloads, transport.Options{Drops: &count.Drops, MaxConns: min(2*cfg.MaxClients, maxStrangers)})
		if err != nil {
			closePairs(pairs)
			return nil, err
		}
		for _, conn := range conns {
			queue, err := fast.NewTUN(given.Queues[len(pairs)], given.Device, fast.TUNOptions{Drops: &count.Drops, Router: true, NoTSO: !cfg.Offloads, NoGRO: !cfg.Offloads})
			if err != nil {
				conn.Close()
				closePairs(pairs)
				return nil, err
			}
			pairs = append(pairs, hub.Queue{Device: watch.Watch("TUN device", queue), Socket: shared{watch.Watch("socket", watch.Network(conn)), n}})
		}
	}
	return pairs, nil
}

func closePairs(pairs []hub.Queue) {
	for _, p := range pairs {
		p.Device.Close()
		p.Socket.Close()
	}
}

// shared is a socket that tells the hub which others reach the same clients.
type shared struct {
	link.Link
	listener int
}

func (s shared) Listener() any { return s.listener }

// PeerMoved passes the call on.
func (s shared) PeerMoved(before, now netip.AddrPort) { link.PeerMoved(s.Link, before, now) }

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

// servedOnly is an Admission that gives clients no address of a subnet that the host can't
// serve now, though they keep their lease. It also notes when clients leave, and knows the
// pre-shared keys of clients that have one of their own.
type servedOnly struct {
	*admission.Controller
	subnets []netip.Prefix
	seen    *lastseen.Log
	host    *keeper.RemoteServer
	change  keyChange
}

func (s servedOnly) Lookup(key noise.PublicKey) (hub.Account, bool) {
	a, known := s.Controller.Lookup(key)
	if a.OwnPSK {
		a.PSK = s.host.OwnPSK(key)
	}
	return a, known
}

func (s servedOnly) Left(gone []hub.Gone) {
	for _, g := range gone {
		if g.In {
			s.seen.Note(g.Key, time.Now(), s.change.key(g.Next))
		}
	}
	s.Controller.Left(gone)
}

func (s servedOnly) Lease(key noise.PublicKey, now time.Time) ([]netip.Prefix, error) {
	leases, err := s.Controller.Lease(key, now)
	return slices.DeleteFunc(leases, func(l netip.Prefix) bool {
		return !slices.ContainsFunc(s.subnets, func(n netip.Prefix) bool { return n.Contains(l.Addr()) })
	}), err
}

// maxStrangers bounds, for each address that the server listens on, the TCP connections of
// peers that have not proved who they are. Each takes up to 400 KB.
const maxStrangers = 4096

// noNames stands for a resolver that is switched off.
type noNames struct{}

func (noNames) String() string { return "off" }

func serverReport(cfg *config.Server, clients *hub.Hub, count *tunnel.Counters, host hostCheck) *status.Report {
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
	for _, c := range clients.Snapshot() {
		r.Peers = append(r.Peers, status.Peer{
			Name: c.Name, Addresses: c.Addrs, Endpoint: c.Endpoint, Handshake: c.Handshake, NextKey: c.Next,
			Sent:     status.Flow{Packets: c.SentPackets, Bytes: c.SentBytes},
			Received: status.Flow{Packets: c.ReceivedPackets, Bytes: c.ReceivedBytes},
		})
	}
	return r
}
