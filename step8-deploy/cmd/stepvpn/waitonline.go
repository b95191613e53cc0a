package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/status"
)

// waitOnline is the command that a program starts first if it needs the tunnel.
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
		r, err := control.QueryStatus(ctx, socket)
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
