// Client puts this host at the other end of a tunnel: packets to the tunnel's
// addresses go to the server, and packets from the server come out here.
package main

import (
	"context"
	"flag"
	"log/slog"

	"stepvpn/shared/app"
	"stepvpn/step2-tun/tun"
	"stepvpn/step3-tunnel/transport"
	"stepvpn/step3-tunnel/tunnel"
)

var (
	server  = flag.String("server", "", "the server's `HOST:PORT`")
	network = flag.String("transport", transport.UDP, "carry packets over `udp` or tcp")
	name    = flag.String("dev", "vpn0", "`name` of the TUN device")
	addrs   = app.Prefixes("addr", "10.8.0.2/24,fd00:8::2/64", "`addresses` of this end of the tunnel")
	mtu     = flag.Int("mtu", 0, "largest packet in the tunnel, in `bytes` (default: what the path to the server has room for)")
)

func main() {
	app.Main("Client connects this host to the server by a tunnel. Nothing is encrypted.", run)
}

func run(ctx context.Context) error {
	var count tunnel.Counters

	// One end is a socket...
	conn, err := transport.Dial(*network, *server, transport.Options{Drops: &count.Drops})
	if err != nil {
		return err
	}
	defer conn.Close()

	// ...the other a TUN device, whose packets fit into what the socket carries...
	inner := conn.MTU().Or(*mtu)
	dev, err := tun.Open(tun.Config{Name: *name, Addrs: *addrs, MTU: inner.Size, Drops: &count.Drops})
	if err != nil {
		return err
	}
	defer dev.Close()
	slog.Info("tunnel is up", "dev", dev.Name(), "server", *server, "transport", *network, "mtu", inner)
	defer app.ReportStats(count.String)()

	// ...and the tunnel relays between them.
	return tunnel.Run(ctx, dev, conn, &count)
}
