// Server lets clients out to the internet under its own address, those that its
// registry knows, each with an address of its own, and looks up names for them.
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
	"stepvpn/step5-nat/hostnet"
	"stepvpn/step6-dns/push"
	"stepvpn/step6-dns/resolver"
	"stepvpn/step7-auth/access"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step7-auth/hub"
)

var (
	listen   = flag.String("listen", ":5555", "wait for clients on `[HOST]:PORT`")
	keyFile  = flag.String("key", "server.key", "`file` with the server's private key (see keygen)")
	pskFile  = flag.String("psk", "", "`file` with a key that the clients have too, against who can break X25519 one day")
	registry = flag.String("registry", "clients", "`file` with the clients that may come in (see clients)")
	leases   = flag.String("leases", "/var/lib/stepvpn/leases", "`file` that keeps the clients' addresses until the next run")
	network  = flag.String("transport", transport.UDP, "carry packets over `udp` or tcp")
	name     = flag.String("dev", "vpn0", "`name` of the TUN device")
	addrs    = app.Prefixes("addr", "10.8.0.1/24,fd00:8::1/64", "`addresses` of this end of the tunnel; the clients get others of the same networks")
	egress   = flag.String("egress", "", "`interface` by which the clients' packets leave (default: that of the default route)")
	dns      = app.AddrPorts("dns", "1.1.1.1", 53, "ask these `resolvers` for the clients, in this order")
	search   = app.Strings("search", push.CheckDomain, "`domains` in which the clients try a name without dots")
	mtu      = flag.Int("mtu", 0, "largest packet in the tunnel, in `bytes` (default: what the path to the internet has room for)")
	most     = flag.Int("max-clients", hub.DefaultMaxClients, "let in no more than `N` clients at a time")
	idle     = flag.Duration("idle", 0, "cut off a client of which nothing was heard for so `long` (default: when its keys end, after 3m)")
	across   = flag.Bool("client-to-client", false, "let the clients reach each other")
)

func main() {
	app.Main("Server lets clients out to the internet and looks up names for them: the clients that its registry knows.", run)
}

func run(ctx context.Context) (err error) {
	var count tunnel.Counters
	var undo app.Undo
	defer undo.All(&err)

	settings, err := push.Settings{DNS: hostnet.Addrs(*addrs), Search: *search}.Marshal()
	if err != nil {
		return err
	}

	// Who we are, who may come in, and with which addresses...
	who, err := access.Open(access.Config{Key: *keyFile, PSK: *pskFile, Registry: *registry, Leases: *leases, Addrs: *addrs})
	if err != nil {
		return err
	}
	defer who.Close()

	// ...to one end, a socket...
	conn, err := transport.Listen(*network, *listen, transport.Options{Drops: &count.Drops, MaxConns: 2 * *most})
	if err != nil {
		return err
	}
	defer conn.Close()

	// ...the other a TUN device, whose packets fit into what a session carries...
	room := conn.MTU().Less(secure.Overhead, "encryption").Or(*mtu)
	dev, err := tun.Open(tun.Config{Name: *name, Addrs: *addrs, MTU: room.Size, Drops: &count.Drops})
	if err != nil {
		return err
	}
	defer dev.Close()

	// ...whose packets this host forwards...
	if err := undo.Add(gateway.Enable(gateway.Config{Device: dev.Name(), Addrs: *addrs, Egress: *egress})); err != nil {
		return err
	}

	// ...and whose names it looks up...
	names, err := resolver.Start(resolver.Config{Addrs: hostnet.Addrs(*addrs), Device: dev.Name(), Upstreams: *dns})
	if err != nil {
		return err
	}
	defer names.Close()

	// ...and the hub relays between the device and all clients.
	clients, err := hub.New(hub.Config{
		Handshake: who.Handshake, Addrs: *addrs, Settings: settings, Count: &count,
		Check:  cookie.NewServer(who.Handshake.Static.Public(), &count.Drops).Check,
		Lookup: who.Lookup, Lease: who.Lease, Left: who.Left, Login: who.Login,
		MaxClients: *most, Idle: *idle, ClientToClient: *across,
	})
	if err != nil {
		return err
	}
	defer who.Follow(clients.Cut)()
	slog.Info("tunnel is up", "dev", dev.Name(), "listen", *listen, "transport", *network, "mtu", room)
	defer app.ReportStats(func() string { return count.String() + "; names: " + names.String() + "; " + clients.String() })()
	return clients.Run(ctx, hub.Queue{Device: dev, Socket: conn})
}
