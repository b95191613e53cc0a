// Server is the other end of the tunnel: it receives packets from one client, and
// sends packets back to it.
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
	listen  = flag.String("listen", ":5555", "wait for the client on `[HOST]:PORT`")
	network = flag.String("transport", transport.UDP, "carry packets over `udp` or tcp")
	name    = flag.String("dev", "vpn0", "`name` of the TUN device")
	addrs   = app.Prefixes("addr", "10.8.0.1/24,fd00:8::1/64", "`addresses` of this end of the tunnel")
	mtu     = flag.Int("mtu", 0, "largest packet in the tunnel, in `bytes` (default: what the path to the internet has room for)")
)

func main() {
	app.Main("Server is the other end of the client's tunnel. Nothing is encrypted, and anyone can be the client.", run)
}

func run(ctx context.Context) error {
	var count tunnel.Counters

	// One end is a socket. Its peer is the last sender...
	conn, err := transport.Listen(*network, *listen, transport.Options{Drops: &count.Drops})
	if err != nil {
		return err
	}
	defer conn.Close()
	peer := transport.Follow(conn)

	// ...the other a TUN device, whose packets fit into what the socket carries...
	inner := conn.MTU().Or(*mtu)
	dev, err := tun.Open(tun.Config{Name: *name, Addrs: *addrs, MTU: inner.Size, Drops: &count.Drops})
	if err != nil {
		return err
	}
	defer dev.Close()
	slog.Info("tunnel is up", "dev", dev.Name(), "listen", *listen, "transport", *network, "mtu", inner)
	defer app.ReportStats(count.String)()

	// ...and the tunnel relays between them.
	return tunnel.Run(ctx, dev, peer, &count)
}
