// Client proves to the server who it is, gets its addresses from it, and sends the traffic
// of this host, except for its local network, through the encrypted tunnel to it.
package main

import (
	"context"
	"flag"
	"log/slog"

	"stepvpn/shared/app"
	"stepvpn/shared/prompt"
	"stepvpn/step2-tun/tun"
	"stepvpn/step3-tunnel/transport"
	"stepvpn/step3-tunnel/tunnel"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/guard"
	"stepvpn/step6-dns/push"
	"stepvpn/step6-dns/resolvconf"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step7-auth/identity"
	"stepvpn/step7-auth/join"
)

var (
	file     = flag.String("profile", "client.conf", "`file` that the server's owner made for this client (see clients)")
	tries    = flag.Int("tries", secure.DefaultTries, "give up after asking the server `N` times, if it never answered")
	network  = flag.String("transport", transport.UDP, "carry packets over `udp` or tcp")
	name     = flag.String("dev", "vpn0", "`name` of the TUN device")
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
	profile, err := identity.LoadProfile(*file)
	if err != nil {
		return err
	}
	var password string
	if profile.User != "" {
		if password, err = prompt.Secret(ctx, "Password of "+profile.User); err != nil {
			return err
		}
	}

	// One end is a socket, which stays outside of the tunnel, as do its answers...
	var own guard.Socket
	undo.Add(own.Close, nil)
	conn, err := transport.Dial(*network, profile.Server, transport.Options{Drops: &count.Drops, Control: own.Control})
	if err != nil {
		return err
	}
	defer conn.Close()

	// ...wrapped in an encrypted session with a server that knows this client...
	inner := conn.MTU().Less(secure.Overhead, "encryption").Or(*mtu)
	session, err := join.Client(ctx, cookie.Client(conn, profile.ServerKey, &count.Drops), join.Config{
		Handshake: profile.Handshake(),
		User:      profile.User,
		Password:  password,
		Drops:     &count.Drops,
		Tries:     *tries,
		MTU:       inner.Size,
	})
	if err != nil {
		return err
	}
	defer session.Close()
	settings, err := push.Parse(session.Settings)
	if err != nil {
		return err
	}

	// ...the other a TUN device, with the addresses that the server has handed out...
	dev, err := tun.Open(tun.Config{Name: *name, Addrs: session.Addrs, MTU: inner.Size, Drops: &count.Drops})
	if err != nil {
		return err
	}
	defer dev.Close()

	// ...which becomes the way out for everything else...
	if err := undo.Add(route.Default(route.Config{Device: dev.Name(), Addrs: session.Addrs, Server: conn.Addr()})); err != nil {
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
	slog.Info("tunnel is up", "dev", dev.Name(), "addrs", session.Addrs, "server", profile.Server, "transport", *network, "mtu", inner)
	defer app.ReportStats(count.String)()

	// ...and the tunnel relays between them.
	return tunnel.Run(ctx, dev, session, &count)
}
