// Server takes packets from one client that has the key, lets them out to the
// internet under its own address, and looks up names for the client.
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
	"stepvpn/step5-nat/gateway"
	"stepvpn/step6-dns/push"
	"stepvpn/step6-dns/resolver"
)

var (
	listen  = flag.String("listen", ":5555", "wait for the client on `[HOST]:PORT`")
	keyFile = flag.String("key", "vpn.key", "`file` with the key that the client has too (see keygen)")
	network = flag.String("transport", transport.UDP, "carry packets over `udp` or tcp")
	name    = flag.String("dev", "vpn0", "`name` of the TUN device")
	addrs   = app.Prefixes("addr", "10.8.0.1/24,fd00:8::1/64", "`addresses` of this end of the tunnel")
	egress  = flag.String("egress", "", "`interface` by which the client's packets leave (default: that of the default route)")
	dns     = app.AddrPorts("dns", "1.1.1.1", 53, "ask these `resolvers` on the client's behalf, in this order")
	search  = app.Strings("search", push.CheckDomain, "`domains` that the client appends to a name without dots")
	mtu     = flag.Int("mtu", 0, "largest packet in the tunnel, in `bytes` (default: what the path to the internet has room for)")
)

func main() {
	app.Main("Server lets a client out to the internet and looks up names for it. Whoever has the key can be the client.", run)
}

func run(ctx context.Context) (err error) {
	var count tunnel.Counters
	var undo app.Undo // remembers what to undo on this host at the end
	defer undo.All(&err)

	key, err := keyfile.Read(*keyFile)
	if err != nil {
		return err
	}
	settings, err := push.Settings{DNS: resolver.At(*addrs), Search: *search}.Marshal()
	if err != nil {
		return err
	}

	// One end is a socket (which shares port 53 with the resolver, if that is its port)...
	conn, err := transport.Listen(*network, *listen, transport.Options{Drops: &count.Drops, Control: resolver.Share})
	if err != nil {
		return err
	}
	defer conn.Close()

	// ...wrapped in an encrypted session, which hands the settings to each client...
	inner := conn.MTU().Less(secure.Overhead, "encryption").Or(*mtu)
	session, err := secure.Server(conn, secure.Config{
		Handshake: noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.NNpsk0, PSK: &key},
		Payload:   settings,
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
	if err := undo.Add(gateway.Enable(gateway.Config{Device: dev.Name(), Addrs: *addrs, Egress: *egress})); err != nil {
		return err
	}

	// ...and whose names it looks up...
	names, err := resolver.Start(resolver.Config{Addrs: resolver.At(*addrs), Device: dev.Name(), Upstreams: *dns})
	if err != nil {
		return err
	}
	defer names.Close()
	slog.Info("tunnel is up", "dev", dev.Name(), "listen", *listen, "transport", *network, "mtu", inner)
	defer app.ReportStats(func() string { return count.String() + "; names: " + names.String() })()

	// ...and the tunnel relays between them.
	return tunnel.Run(ctx, dev, session, &count)
}
