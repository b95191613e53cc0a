// Client sends the traffic of this host, except for its local network, through an encrypted
// tunnel to the server, and all of its DNS queries.
package main

import (
	"context"
	"flag"
	"log/slog"

	"stepvpn/shared/app"
	"stepvpn/step2-tun/tun"
	"stepvpn/step3-tunnel/transport"
	"stepvpn/step3-tunnel/tunnel"
	"stepvpn/step4-crypto/keyfile"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/guard"
	"stepvpn/step6-dns/push"
	"stepvpn/step6-dns/resolvconf"
)

var (
	server   = flag.String("server", "", "the server's `HOST:PORT`")
	keyFile  = flag.String("key", "vpn.key", "`file` with the key that the server has too (see keygen)")
	tries    = flag.Int("tries", secure.DefaultTries, "give up after asking the server `N` times, if it never answered")
	network  = flag.String("transport", transport.UDP, "carry packets over `udp` or tcp")
	name     = flag.String("dev", "vpn0", "`name` of the TUN device")
	addrs    = app.Prefixes("addr", "10.8.0.2/24,fd00:8::2/64", "`addresses` of this end of the tunnel")
	mtu      = flag.Int("mtu", 0, "largest packet in the tunnel, in `bytes` (default: what the path to the server has room for)")
	otherDNS = flag.Bool("allow-other-dns", false, "let programs ask resolvers other than the tunnel's, which others on the network may overhear")
	restore  = flag.Bool("recover", false, "only undo what a killed client has left, and exit")
)

func main() {
	app.Main("Client sends all traffic and DNS queries of this host through an encrypted tunnel to the server.", run)
}

func run(ctx context.Context) (err error) {
	var count tunnel.Counters
	var undo app.Undo // remembers what to undo on this host at the end
	defer undo.All(&err)

	// First undo what a killed client left: until then the server's name may not be found.
	if err := guard.Recover(); err != nil {
		return err
	}
	if _, err := resolvconf.Recover(resolvconf.Config{}); err != nil || *restore {
		return err
	}
	key, err := keyfile.Read(*keyFile)
	if err != nil {
		return err
	}

	// One end is a socket, which stays outside of the tunnel, as do its answers...
	var own guard.Socket
	undo.Add(own.Close, nil)
	conn, err := transport.Dial(*network, *server, transport.Options{Drops: &count.Drops, Control: own.Control})
	if err != nil {
		return err
	}
	defer conn.Close()

	// ...wrapped in an encrypted session, which brings the server's settings...
	var received push.Receiver
	inner := conn.MTU().Less(secure.Overhead, "encryption").Or(*mtu)
	session, err := secure.Client(ctx, conn, secure.Config{
		Handshake: noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.NNpsk0, PSK: &key},
		OnPayload: received.Take,
		Drops:     &count.Drops,
		MTU:       inner.Size,
		Tries:     *tries,
	})
	if err != nil {
		return err
	}
	defer session.Close()
	settings := received.Settings()

	// ...the other a TUN device, whose packets fit into what the session carries...
	dev, err := tun.Open(tun.Config{Name: *name, Addrs: *addrs, MTU: inner.Size, Drops: &count.Drops})
	if err != nil {
		return err
	}
	defer dev.Close()

	// ...which becomes the way out for everything else...
	if err := undo.Add(route.Default(route.Config{Device: dev.Name(), Addrs: *addrs, Server: conn.Addr()})); err != nil {
		return err
	}

	// ...and for DNS queries the only way out...
	if !*otherDNS {
		if err := undo.Add(guard.DNS(dev.Name(), settings.DNS)); err != nil {
			return err
		}
	}
	if len(settings.DNS) > 0 {
		if err := undo.Add(resolvconf.Use(resolvconf.Config{Device: dev.Name(), DNS: settings.DNS, Search: settings.Search})); err != nil {
			return err
		}
	}
	slog.Info("tunnel is up", "dev", dev.Name(), "server", *server, "transport", *network, "mtu", inner)
	defer app.ReportStats(count.String)()

	// ...and the tunnel relays between them.
	return tunnel.Run(ctx, dev, session, &count)
}
