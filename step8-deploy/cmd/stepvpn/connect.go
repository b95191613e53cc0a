package main

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"stepvpn/step3-tunnel/transport"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step6-dns/push"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step7-auth/join"
	"stepvpn/step8-deploy/fast"
	"stepvpn/step8-deploy/pathmtu"
	"stepvpn/step8-deploy/routes"
	"stepvpn/step8-deploy/supervise"
	"stepvpn/step8-deploy/takeover"
)

// connect opens a session with a server, and returns when the session has ended. It is what
// the client of step 7 does, once for each attempt. Whatever needs a privilege is done by the
// keeper.
func (n *node) connect(ctx context.Context, server netip.AddrPort, up func()) error {
	// One end is a socket, which stays outside of the tunnel, as do its answers: the keeper opens
	// it, with the mark of step 5 (route.FwMark), and connects it...
	own := n.keeper.Attempt()
	defer own.Close()
	conn, err := fast.Dial(n.cfg.Transport, server, n.cfg.Offloads, transport.Options{Drops: &n.count.Drops, Dial: own.DialContext})
	if err != nil {
		return err
	}

	// ...wrapped in an encrypted session with a server that knows this client. (While a server
	// changes its key, it has two: by is the one by which this attempt asks it. path finds out, by
	// messages inside the session, how long packets may be)...
	path := pathmtu.New()
	by := n.keys.of(server)
	identity := n.Identity
	identity.ServerKey = by
	session, err := join.Client(ctx, cookie.Client(n.network(conn), by, &n.count.Drops), join.Config{
		Handshake: identity.Handshake(),
		User:      n.User, Password: n.Password,
		Instance:  n.Instance,
		OnControl: n.control(path),
		Drops:     &n.count.Drops,
		Keepalive: keepalive(n.cfg.Keepalive),
		MTU:       pathmtu.Safe,
	})
	if err != nil {
		if ctx.Err() == nil || errors.Is(context.Cause(ctx), supervise.ErrSilence) {
			n.keys.failed(server) // the next try is by another of the server's keys: serverkeys.go
		}
		return verdict(err) // marks a refusal, which the supervisor must know from a failure
	}
	defer session.Close()
	if n.learn(server, by, session.Settings) { // the settings may name the server's next key
		conn.Close() // without telling the server: the next session continues this one
		return errNewerKey
	}
	settings, err := push.Parse(session.Settings)
	if err != nil {
		return err
	}
	pushed, err := routes.Parse(session.Settings)
	if err != nil {
		return err
	}

	// ...the other a TUN device, with the addresses that the server has handed out, which
	// becomes the way out for everything else, and the way to ask for names. The keeper makes
	// device, routes and DNS settings; if they are there since the last session, they stay...
	terms := takeover.Terms{
		Server: server, Addrs: session.Addrs, Settings: settings, Routes: pushed,
		MTU: conn.MTU().Less(secure.Overhead, "encryption").Or(n.cfg.MTU).Size,
	}
	if err := n.carrier.take(terms, n.cfg.Offloads); err != nil {
		return err
	}
	defer n.fit(path, pathmtu.Config{Server: server, Computed: terms.MTU, Session: session})()

	// ...and the tunnel relays between them, for as long as the server answers (lost.go).
	// Meanwhile prove (health.go) asks for answers from inside the tunnel, and tells the supervisor
	// whether packets pass: only there is it decided whether the state is up or degraded.
	n.session.Store(session)
	up()
	defer n.prove(session, settings.DNS)()
	return n.untilLost(ctx, session, conn)
}

// fit makes packets as long as the path carries, from now on until stop is called. A size that
// the operator has set stays, and over TCP none needs to be found; the server is told these,
// too.
func (n *node) fit(path *pathmtu.Path, cfg pathmtu.Config) (stop func()) {
	cfg.Found = func(size int) {
		if err := n.keeper.Fit(size); err != nil {
			slog.Warn("packets can't be made to fit the path", "error", err)
		}
	}
	cfg.Fixed = n.cfg.MTU != 0 || n.cfg.Transport != transport.UDP
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() { path.Watch(ctx, cfg) })
	return func() {
		cancel()
		watching.Wait()
	}
}

// keepalive translates "off", which is 0 in the settings.
func keepalive(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}
