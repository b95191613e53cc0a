package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"

	"stepvpn/shared/app"
	"stepvpn/shared/link"
	"stepvpn/step2-tun/tun"
	"stepvpn/step3-tunnel/transport"
	"stepvpn/step3-tunnel/tunnel"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step5-nat/gateway"
	"stepvpn/step6-dns/push"
	"stepvpn/step6-dns/resolver"
	"stepvpn/step7-auth/admission"
	"stepvpn/step7-auth/conntrack"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step7-auth/hub"
	"stepvpn/step7-auth/identity"
	"stepvpn/step7-auth/pool"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/fast"
	"stepvpn/step8-deploy/liveness"
	"stepvpn/step8-deploy/notify"
	"stepvpn/step8-deploy/pathmtu"
	"stepvpn/step8-deploy/routes"
	"stepvpn/step8-deploy/status"
)

var server = app.Command{
	Name:  "server",
	Args:  "FILE",
	About: "Lets clients out to the internet, and looks up names for them.",
	Setup: func() func(context.Context, []string) error {
		return func(ctx context.Context, args []string) error { return runServer(ctx, args[0]) }
	},
}

func runServer(ctx context.Context, file string) (err error) {
	var count tunnel.Counters
	var watch liveness.Monitor
	var undo app.Undo
	defer undo.All(&err)

	cfg, err := config.LoadServer(file)
	if err != nil {
		return err
	}
	// As many processors as queues: on more, the two directions of a queue would only
	// wake each other up. The others are for the kernel, which has as much to do.
	runtime.GOMAXPROCS(fast.Spread(cfg.Queues))
	handshake, err := identity.ServerHandshake(cfg.Key, cfg.PSK)
	if err != nil {
		return hinted(err)
	}
	settings, err := settingsOf(cfg)
	if err != nil {
		return err
	}
	admits, err := admission.Open(admission.Config{
		Registry: cfg.Clients,
		Pool:     pool.Config{Addrs: cfg.Subnets, State: filepath.Join(cfg.State, "leases"), Grace: pool.DefaultGrace},
		Forget:   conntrack.Forget,
	})
	if err != nil {
		return hinted(err)
	}
	undo.Add(admits.Close, nil)

	// One end is a socket for each address and transport, or several...
	conns, listeners, inner, err := listen(cfg, &count)
	if err != nil {
		return err
	}
	defer closeAll(conns)

	// ...the other a TUN device, with a queue for each socket...
	inner = inner.Less(secure.Overhead, "encryption").Or(cfg.MTU)
	dev, queues, err := fast.Queues(tun.Config{Name: cfg.Device, Addrs: cfg.Subnets, MTU: inner.Size, Drops: &count.Drops}, len(conns), cfg.Offloads)
	if err != nil {
		return err
	}
	defer closeAll(queues)

	// ...whose packets this host forwards...
	if err := undo.Add(gateway.Enable(gateway.Config{Device: dev.Name(), Addrs: cfg.Subnets, Egress: cfg.Egress, Sysctls: steady()})); err != nil {
		return err
	}

	// ...and for whose users it looks up names...
	names := fmt.Stringer(noNames{})
	if cfg.DNS {
		r, err := resolver.Start(resolver.Config{Addrs: resolver.At(cfg.Subnets), Device: dev.Name(), Upstreams: cfg.DNSUpstreams})
		if err != nil {
			return err
		}
		defer r.Close()
		names = r
	}

	// ...and between them a hub, which has a session with each client that it lets in.
	clients, err := hub.New(hub.Config{
		Handshake: handshake, Addrs: cfg.Subnets, Settings: settings, MTU: pathmtu.Safe,
		Admission:  admits,
		Check:      cookie.NewServer(handshake.Static.Public(), &count.Drops).Check,
		Control:    pathmtu.Control(inner.Size),
		MaxClients: cfg.MaxClients, ClientToClient: cfg.ClientToClient, Idle: cfg.IdleTimeout,
		Count: &count,
	})
	if err != nil {
		return err
	}
	go admits.Run(ctx, clients.Cut)
	app.OnHangup(func() {
		notify.Reloading()
		admits.Reload()
		notify.Ready("clients read again")
	})

	// It tells how it is, and runs.
	var host hostCheck // nobody looks yet
	report := func() *status.Report { return serverReport(cfg, clients, &count, host) }
	if err := undo.Add(publish(cfg.StatusSocket, cfg.Metrics, report)); err != nil {
		return err
	}
	go notify.Watchdog(ctx, func(context.Context) error {
		report() // the hub answers
		return watch.Check()
	})
	slog.Info("server is up", "dev", dev.Name(), "listen", cfg.Listen, "transports", cfg.Transports, "mtu", inner)
	defer app.ReportStats(func() string { return count.String() + "; names: " + names.String() })()
	defer notify.Stopping()
	notify.Ready("serving clients")
	go host.tell(ctx)
	pairs := make([]hub.Queue, len(conns))
	for i := range conns {
		pairs[i] = hub.Queue{
			Device: watch.Watch("TUN device", queues[i]), Socket: shared{watch.Watch("socket", watch.Network(conns[i])), listeners[i]},
		}
	}
	return clients.Run(ctx, pairs...)
}

// shared is a socket that tells the hub which others reach the same clients.
type shared struct {
	link.Link
	listener int
}

func (s shared) Listener() any { return s.listener }

// PeerMoved passes it on.
func (s shared) PeerMoved(before, now netip.AddrPort) { link.PeerMoved(s.Link, before, now) }

// steady keeps the clients' TCP connections through a pause of the tunnel, as when this
// program is started anew: the kernel then does not judge a segment by the ones that it
// has seen before. What it takes to be invalid it would forward with the client's own
// address.
func steady() map[string]string {
	return map[string]string{"net/netfilter/nf_conntrack_tcp_be_liberal": "1"}
}

// settingsOf returns what the server hands out.
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

// listen opens the sockets, says which of them reach the same clients, and finds
// the room for a packet that all of them have. Where there is UDP, its room counts:
// over TCP a packet may take two segments.
//
// Over TCP, all clients may come at the same time, and from behind one NAT: after a
// restart of the server all are strangers, and no source gets more than half of the
// strangers' places.
func listen(cfg *config.Server, count *tunnel.Counters) (conns []transport.Conn, listeners []int, inner transport.MTU, err error) {
	networks := slices.Sorted(slices.Values(cfg.Transports)) // "tcp", "udp"
	for _, network := range networks {
		for _, at := range cfg.Listen {
			list, err := fast.Listen(network, at, fast.Spread(cfg.Queues), cfg.Offloads, transport.Options{
				Drops:    &count.Drops,
				MaxConns: min(2*cfg.MaxClients, maxStrangers),
			})
			if err != nil {
				closeAll(conns)
				return nil, nil, inner, err
			}
			if m := list[0].MTU(); inner.Size == 0 || network != networks[0] || m.Size < inner.Size {
				inner = m
			}
			n := len(conns)
			for range list {
				listeners = append(listeners, n)
			}
			conns = append(conns, list...)
		}
	}
	return conns, listeners, inner, nil
}

// maxStrangers bounds the TCP connections, for each address that the server listens
// on, of those who have not proven who they are. Each takes up to 400 KB.
const maxStrangers = 4096

func closeAll[T interface{ Close() error }](list []T) {
	for _, c := range list {
		c.Close()
	}
}

// noNames stands for a resolver that is switched off.
type noNames struct{}

func (noNames) String() string { return "off" }

func serverReport(cfg *config.Server, clients *hub.Hub, count *tunnel.Counters, host hostCheck) *status.Report {
	state, reason, cure := host.state()
	r := newReport("server", state, cfg.Device, &count.Drops)
	r.Reason, r.Cure = reason, cure
	for _, c := range clients.Snapshot() {
		r.Peers = append(r.Peers, status.Peer{
			Name: c.Name, Addresses: c.Addrs, Endpoint: c.Endpoint, Handshake: c.Handshake,
			Sent:     status.Flow{Packets: c.SentPackets, Bytes: c.SentBytes},
			Received: status.Flow{Packets: c.ReceivedPackets, Bytes: c.ReceivedBytes},
		})
	}
	return r
}
