// Client sends the traffic of this host, except for its local network, through an encrypted
// tunnel to the server, and out to the internet from there.
package main

import (
	"context"
	"errors"
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
)

var (
	server  = flag.String("server", "", "the server's `HOST:PORT`")
	keyFile = flag.String("key", "vpn.key", "`file` with the key that the server has too (see keygen)")
	tries   = flag.Int("tries", secure.DefaultTries, "give up after asking the server `N` times, if it never answered")
	network = flag.String("transport", transport.UDP, "carry packets over `udp` or tcp")
	name    = flag.String("dev", "vpn0", "`name` of the TUN device")
	addrs   = app.Prefixes("addr", "10.8.0.2/24,fd00:8::2/64", "`addresses` of this end of the tunnel")
	mtu     = flag.Int("mtu", 0, "largest packet in the tunnel, in `bytes` (default: what the path to the server has room for)")
)

func main() {
	app.Main("Client sends all traffic of this host through an encrypted tunnel to the server.", run)
}

func run(ctx context.Context) error {
	var count tunnel.Counters

	key, err := keyfile.Read(*keyFile)
	if err != nil {
		return err
	}

	// One end is a socket, marked so that it stays outside of the tunnel...
	conn, err := transport.Dial(*network, *server, transport.Options{Drops: &count.Drops, Control: route.Mark})
	if err != nil {
		return err
	}
	defer conn.Close()

	// ...wrapped in an encrypted session...
	inner := conn.MTU().Less(secure.Overhead, "encryption").Or(*mtu)
	session, err := secure.Client(ctx, conn, secure.Config{
		Handshake: noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.NNpsk0, PSK: &key},
		Drops:     &count.Drops,
		MTU:       inner.Size,
		Tries:     *tries,
	})
	if err != nil {
		return err
	}
	defer session.Close()

	// ...the other a TUN device, whose packets fit into what the session carries...
	dev, err := tun.Open(tun.Config{Name: *name, Addrs: *addrs, MTU: inner.Size, Drops: &count.Drops})
	if err != nil {
		return err
	}
	defer dev.Close()

	// ...which becomes the way out for everything else...
	undo, err := route.Default(route.Config{Device: dev.Name(), Addrs: *addrs, Network: *network, Server: conn.Addr()})
	if err != nil {
		return err
	}
	slog.Info("tunnel is up", "dev", dev.Name(), "server", *server, "transport", *network, "mtu", inner)
	defer app.ReportStats(count.String)()

	// ...and the tunnel relays between them.
	err = tunnel.Run(ctx, dev, session, &count)
	return errors.Join(err, undo())
}
