package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"stepvpn/step7-auth/join"
	"stepvpn/step8-deploy/health"
	"stepvpn/step8-deploy/supervise"
)

// This file finds out how the client is, by probes (package health) and by the keeper's report
// of the host, and tells the supervisor; tell passes each new state on to the log and to
// systemd.

// prove finds out whether packets pass in a client's session, until stop is called, and tells
// the supervisor. (Package health sends the probes.)
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

// maxTold is how many states are remembered: reasons may differ without end, for example in
// the ports that they name.
const maxTold = 32

// tell returns a function that tells systemd the client's state, and logs it. It logs each
// state and reason only once until packets pass again, as an outage may be long, with many
// tries.
func tell(told func(supervise.Status)) func(supervise.Status) {
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
		told(now)
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
