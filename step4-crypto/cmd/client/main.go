// Client puts this host at the other end of an encrypted tunnel: packets to the
// tunnel's addresses go to the server, and packets from the server come out here.
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
	app.Main("Client connects this host to the server by a tunnel that nobody on the way can read or change.", run)
}

func run(ctx context.Context) error {
	var count tunnel.Counters

	key, err := keyfile.Read(*keyFile)
	if err != nil {
		return err
	}

	// One end is a socket...
	conn, err := transport.Dial(*network, *server, transport.Options{Drops: &count.Drops})
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
	slog.Info("tunnel is up", "dev", dev.Name(), "server", *server, "transport", *network, "mtu", inner)
	defer app.ReportStats(count.String)()

	// ...and the tunnel relays between them.
	return tunnel.Run(ctx, dev, session, &count)
}
