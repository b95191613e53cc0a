// Server receives packets from one client that has the key, and forwards them to the
// internet under its own address.
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
	"stepvpn/step5-nat/gateway"
)

var (
	listen  = flag.String("listen", ":5555", "wait for the client on `[HOST]:PORT`")
	keyFile = flag.String("key", "vpn.key", "`file` with the key that the client has too (see keygen)")
	network = flag.String("transport", transport.UDP, "carry packets over `udp` or tcp")
	name    = flag.String("dev", "vpn0", "`name` of the TUN device")
	addrs   = app.Prefixes("addr", "10.8.0.1/24,fd00:8::1/64", "`addresses` of this end of the tunnel")
	egress  = flag.String("egress", "", "`interface` by which the client's packets leave (default: that of the default route)")
	mtu     = flag.Int("mtu", 0, "largest packet in the tunnel, in `bytes` (default: what the path to the internet has room for)")
)

func main() {
	app.Main("Server lets a client out to the internet. Anyone who has the key can be the client.", run)
}

func run(ctx context.Context) error {
	var count tunnel.Counters

	key, err := keyfile.Read(*keyFile)
	if err != nil {
		return err
	}

	// One end is a socket...
	conn, err := transport.Listen(*network, *listen, transport.Options{Drops: &count.Drops})
	if err != nil {
		return err
	}
	defer conn.Close()

	// ...wrapped in an encrypted session. The peer is the last one to have proved that it has the key...
	inner := conn.MTU().Less(secure.Overhead, "encryption").Or(*mtu)
	session, err := secure.Server(conn, secure.Config{
		Handshake: noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.NNpsk0, PSK: &key},
		Drops:     &count.Drops,
		MTU:       inner.Size,
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

	// ...whose packets this host forwards...
	undo, err := gateway.Enable(gateway.Config{Device: dev.Name(), Addrs: *addrs, Egress: *egress})
	if err != nil {
		return err
	}
	slog.Info("tunnel is up", "dev", dev.Name(), "listen", *listen, "transport", *network, "mtu", inner)
	defer app.ReportStats(count.String)()

	// ...and the tunnel relays between them.
	err = tunnel.Run(ctx, dev, session, &count)
	return errors.Join(err, undo())
}
