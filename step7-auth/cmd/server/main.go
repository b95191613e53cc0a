// Server takes packets from many clients, each of which proves who it is, lets them
// out to the internet under its own address, and looks up names for them.
package main

import (
	"context"
	"flag"
	"log/slog"

	"stepvpn/shared/app"
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
)

var (
	listen   = flag.String("listen", ":5555", "wait for clients on `[HOST]:PORT`")
	keyFile  = flag.String("key", "server.key", "`file` with the server's own key (see clients)")
	pskFile  = flag.String("psk", "", "`file` with a key that all clients have too (default: none)")
	registry = flag.String("registry", "authorized_clients", "`file` with the clients (see clients)")
	leases   = flag.String("leases", "/var/lib/stepvpn/leases", "`file` that keeps the clients' addresses from run to run")
	network  = flag.String("transport", transport.UDP, "carry packets over `udp` or tcp")
	name     = flag.String("dev", "vpn0", "`name` of the TUN device")
	addrs    = app.Prefixes("addr", "10.8.0.1/24,fd00:8::1/64", "`addresses` of this end of the tunnel; clients get others of the same networks")
	egress   = flag.String("egress", "", "`interface` by which the clients' packets leave (default: that of the default route)")
	dns      = app.AddrPorts("dns", "1.1.1.1", 53, "ask these `resolvers` on the clients' behalf, in this order")
	search   = app.Strings("search", push.CheckDomain, "`domains` that the clients append to a name without dots")
	most     = flag.Int("max-clients", hub.DefaultMaxClients, "let in at most `N` clients at the same time")
	idle     = flag.Duration("idle", 0, "cut off a client that has been silent for this `time` (default: when its keys expire, after 3m)")
	toClient = flag.Bool("client-to-client", false, "let clients reach each other")
	mtu      = flag.Int("mtu", 0, "largest packet in the tunnel, in `bytes` (default: what the path to the internet has room for)")
)

func main() {
	app.Main("Server lets clients out to the internet and looks up names for them. The registry says which clients may come in.", run)
}

func run(ctx context.Context) (err error) {
	var count tunnel.Counters
	var undo app.Undo // remembers what to undo on this host at the end
	defer undo.All(&err)

	handshake, err := identity.ServerHandshake(*keyFile, *pskFile)
	if err != nil {
		return err
	}
	settings, err := push.Settings{DNS: resolver.At(*addrs), Search: *search}.Marshal()
	if err != nil {
		return err
	}
	admits, err := admission.Open(admission.Config{
		Registry: *registry,
		Pool:     pool.Config{Addrs: *addrs, State: *leases, Grace: pool.DefaultGrace},
		Forget:   conntrack.Forget,
	})
	if err != nil {
		return err
	}
	undo.Add(admits.Close, nil)

	// One end is a socket (which shares port 53 with the resolver, if that is its port)...
	conn, err := transport.Listen(*network, *listen, transport.Options{Drops: &count.Drops, MaxConns: 2 * *most, Control: resolver.Share})
	if err != nil {
		return err
	}
	defer conn.Close()

	// ...the other a TUN device, whose packets fit into what a session carries...
	inner := conn.MTU().Less(secure.Overhead, "encryption").Or(*mtu)
	dev, err := tun.Open(tun.Config{Name: *name, Addrs: *addrs, MTU: inner.Size, Drops: &count.Drops})
	if err != nil {
		return err
	}
	defer dev.Close()

	// ...whose packets this host forwards...
	if err := undo.Add(gateway.Enable(gateway.Config{Device: dev.Name(), Addrs: *addrs, Egress: *egress})); err != nil {
		return err
	}

	// ...and beside it a resolver, which looks up names for the clients...
	names, err := resolver.Start(resolver.Config{Addrs: resolver.At(*addrs), Device: dev.Name(), Upstreams: *dns})
	if err != nil {
		return err
	}
	defer names.Close()

	// ...and between them a hub, which has a session with each client that it lets in.
	clients, err := hub.New(hub.Config{
		Handshake: handshake, Addrs: *addrs, Settings: settings, MTU: inner.Size,
		Admission:  admits,
		Check:      cookie.NewServer(handshake.Static.Public(), &count.Drops).Check,
		MaxClients: *most, ClientToClient: *toClient, Idle: *idle,
		Count: &count,
	})
	if err != nil {
		return err
	}
	go admits.Run(ctx, clients.Cut)
	app.OnHangup(admits.Reload) // SIGHUP: read the registry now
	slog.Info("server is up", "dev", dev.Name(), "listen", *listen, "transport", *network, "mtu", inner)
	defer app.ReportStats(func() string { return count.String() + "; names: " + names.String() + "; " + clients.String() })()
	return clients.Run(ctx, hub.Queue{Device: dev, Socket: conn})
}
