package main

import (
	"context"
	"strings"
	"time"

	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/status"
)

// This file makes the server's state, up or degraded, out of the problems that the keeper
// reports, and tells systemd when it changes.

// A hostCheck returns what keeps a server's host from serving clients, as the keeper last
// reported it.
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

// tell calls told and changed whenever the problems have changed, until ctx ends. (The keeper logs them.)
func (c hostCheck) tell(ctx context.Context, told func(status string), changed func(state, reason string)) {
	before := ""
	for tick := time.Tick(checkEvery); ; {
		state, reason, cure := c.state()
		if reason != before {
			before = reason
			changed(state, reason)
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
