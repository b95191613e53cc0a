package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step7-auth/join"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/health"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/status"
	"stepvpn/step8-deploy/supervise"
)

// maxTold is how many states are remembered: reasons may differ without end, for example in
// the ports that they name.
const maxTold = 32

// tell returns a function that tells systemd the client's state, and logs it. It logs each
// state and reason only once until packets pass again, as an outage may be long, with many
// tries.
func tell(told func(status string)) func(supervise.Status) {
	said := make(map[string]bool)
	say := func(level slog.Level, now supervise.Status, key string, args ...any) {
		if key = now.State.String() + key; said[key] {
			return
		}
		if len(said) == maxTold {
			clear(said)
		}
		said[key] = true
		slog.Log(context.Background(), level, "client is "+now.State.String(), args...)
	}
	return func(now supervise.Status) {
		told(now.String())
		switch now.State {
		case supervise.Connecting:
			if now.Session.IsZero() {
				say(slog.LevelInfo, now, fmt.Sprint(now.LooksUp()), "server", now.Server, "awaits", now.Awaits())
			}
		case supervise.Up:
			clear(said)
			say(slog.LevelInfo, now, "", "server", now.Addr)
		case supervise.Degraded, supervise.Waiting:
			say(slog.LevelWarn, now, now.Reason, "reason", now.Reason, "cure", now.Cure)
		}
	}
}

// prove finds out whether packets pass in a session, until stop is called.
func (n *node) prove(session *join.Session, resolvers []netip.Addr) (stop func()) {
	judge := &judge{node: n}
	cfg := health.Config{
		Sent: n.count.Sent.Bytes, Received: n.count.Received.Bytes,
		Changed: judge.packets,
	}
	n.keeper.Changed(judge.host)
	peer := resolvers // which are the server's own addresses
	if len(peer) == 0 {
		for _, a := range session.Addrs {
			peer = append(peer, a.Masked().Addr().Next()) // by convention
		}
	}
	cfg.Echo = health.Echo(peer, n.keeper.Echo)
	if n.cfg.DNS && len(resolvers) > 0 {
		cfg.Names = health.Names(resolvers)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() { health.Watch(ctx, cfg) })
	return func() {
		cancel()
		watching.Wait()
	}
}

// A judge tells the supervisor what is wrong. There are two kinds of problems: packets that
// do not pass, which probes find, and those of the host, which the keeper reports.
type judge struct {
	node  *node
	mu    sync.Mutex // guards all below
	known bool
	last  health.Problem
}

func (j *judge) packets(p health.Problem) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.known, j.last = true, p
	j.judge()
}

func (j *judge) host() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.judge()
}

// judge tells the supervisor the worse of the two. j.mu is locked.
func (j *judge) judge() {
	p, host := j.last, j.node.keeper.State()
	switch {
	case !j.known:
		return
	case p.Reason == "":
		p = health.Problem{Reason: host.Reason, Cure: host.Cure}
	}
	j.node.supervisor.Judge(p.Reason, p.Cure)
}

// A hostCheck returns what keeps this host from serving clients, as the keeper last reported
// it.
type hostCheck func() []keeper.Problem

// state returns the server's state, with the reason and the cure.
func (c hostCheck) state() (state, reason, cure string) {
	problems := c()
	if len(problems) == 0 {
		return status.Up, "", ""
	}
	var whats, cures []string
	for _, p := range problems {
		whats = append(whats, p.What)
		if p.Cure != "" {
			cures = append(cures, p.Cure)
		}
	}
	return status.Degraded, strings.Join(whats, "; "), strings.Join(cures, " ")
}

// checkEvery is how often a server checks the state of its host.
const checkEvery = 2 * time.Second

// tell calls told whenever the problems have changed, until ctx ends. (The keeper logs them.)
func (c hostCheck) tell(ctx context.Context, told func(status string)) {
	before := ""
	for tick := time.Tick(checkEvery); ; {
		state, reason, cure := c.state()
		if reason != before {
			before = reason
			if state == status.Up {
				told("serving clients")
			} else {
				told(strings.TrimSpace(state + ": " + reason + ". " + cure))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
	}
}

var waitOnline = app.Command{
	Name:  "wait-online",
	About: "Waits until packets pass the client's tunnel, and names are found.",
	Setup: func() func(context.Context, []string) error {
		socket := flag.String("socket", "", "connect to the client's status socket at this `path` (default: that in "+installed+", or "+config.ClientSocket+")")
		limit := flag.Duration("timeout", 2*time.Minute, "give up after this `time`; 0: never")
		return func(ctx context.Context, _ []string) error {
			path := *socket
			if path == "" {
				path = installedSocket()
			}
			return untilUp(ctx, path, *limit)
		}
	},
}

// installedSocket returns the path of the installed client's status socket.
func installedSocket() string {
	if cfg, err := config.LoadClient(installed); err == nil {
		return cfg.StatusSocket
	}
	return config.ClientSocket
}

// askEvery is how often a client is asked whether it is up.
const askEvery = 200 * time.Millisecond

// untilUp waits until the client that answers at a socket says that it is up.
func untilUp(ctx context.Context, socket string, limit time.Duration) error {
	if socket == "" {
		return app.Hint(errors.New("the client has no status socket to ask"), "Set status_socket in %s.", installed)
	}
	var over <-chan time.Time // nil: there is no limit
	if limit > 0 {
		over = time.After(limit)
	}
	for tick := time.Tick(askEvery); ; {
		r, err := status.Query(ctx, socket)
		switch {
		case ctx.Err() != nil:
			return errors.New("interrupted before it was up") // an error, unlike for a daemon
		case err == nil && r.State == status.Up:
			return nil
		case err == nil:
			err = notUp(r)
		}
		select {
		case <-ctx.Done():
		case <-tick:
		case <-over:
			return fmt.Errorf("not up after %v: %w", limit, err)
		}
	}
}

// notUp returns an error that says why a client is not up.
func notUp(r *status.Report) error {
	err := fmt.Errorf("the %s is %s", r.Role, r.State)
	if r.Reason != "" {
		err = fmt.Errorf("%w: %s", err, r.Reason)
	}
	return app.Hint(err, "%s", cmp.Or(r.Cure, "'stepvpn status' shows more."))
}
