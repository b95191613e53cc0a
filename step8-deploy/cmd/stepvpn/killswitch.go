package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/killswitch"
	"stepvpn/step8-deploy/takeover"
)

// This file has the commands for the kill switch: 'killswitch close' (at boot), 'killswitch
// open' (after a stop), and 'pause', which opens it for a while, with or without a running
// client, but not while the tunnel is up.

var closeSwitch = app.Command{
	Name:  "killswitch close",
	Args:  "FILE",
	About: "Closes the kill switch as a client's settings say or, if they can't be read, as it was last closed.",
	Setup: func() func(context.Context, []string) error {
		state := stateFlag()
		return func(_ context.Context, args []string) error {
			cfg, err := config.LoadClient(args[0])
			if err == nil {
				return takeover.Close(cfg)
			}
			like, found, err2 := killswitch.Restore(state())
			if !found {
				return errors.Join(err, err2)
			}
			slog.Error("the settings can't be read, so the kill switch is closed as it last was", "error", err)
			if err2 == nil {
				slog.Info("closed", "what", like)
			}
			return err2
		}
	},
}

// keepClosed puts back what other programs have removed of the kill switch, for a client that
// can't start with this file.
func keepClosed(file string) {
	if err := killswitch.Reclose(stateOf(file)); err != nil {
		slog.Error("the kill switch may have been opened by another program, and can't be closed again", "error", err)
	}
}

var openSwitch = app.Command{
	Name:  "killswitch open",
	About: "Opens the kill switch of a stopped client, as 'recover' does, but not while the machine is shutting down.",
	Setup: func() func(context.Context, []string) error {
		state := stateFlag()
		unit := flag.String("unit", "", "only if systemd is stopping this `unit`, and not restarting it")
		return func(context.Context, []string) error {
			switch {
			case *unit != "" && !isStopped(*unit):
				return nil
			case shuttingDown():
				slog.Info("the machine is shutting down: the kill switch stays closed")
				return nil
			}
			return recoverHost(state())
		}
	},
}

// isStopped reports whether systemd is stopping a unit because the operator wants that: not
// because the unit has failed, and not to restart it.
func isStopped(unit string) bool {
	jobs := strings.Fields(answer("systemctl", "list-jobs", "--no-legend", "--no-pager", "--full", unit)) // "412 UNIT stop running"
	i := slices.Index(jobs, unit)
	return i >= 0 && i+1 < len(jobs) && jobs[i+1] == "stop"
}

// shuttingDown reports whether the whole machine is shutting down, which does not mean that
// the operator wants to be on the network without a tunnel.
func shuttingDown() bool {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return false
	}
	return strings.TrimSpace(answer("systemctl", "is-system-running")) == "stopping"
}

// answer returns a program's output, or "" if the program takes too long.
func answer(program string, args ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, _ := exec.CommandContext(ctx, program, args...).Output() // ignore its exit code, which says the same
	return string(out)
}

var pause = app.Command{
	Name:  "pause",
	Args:  "TIME",
	About: "Opens the kill switch for a while, such as 5m, for example to log in to a hotel's network. It closes by itself.",
	Setup: func() func(context.Context, []string) error {
		state := stateFlag()
		socket := flag.String("socket", config.ClientSocket, "the client's status `socket`")
		return func(ctx context.Context, args []string) error {
			d, err := time.ParseDuration(args[0])
			if err != nil || d < killswitch.MinPause || d > killswitch.MaxPause {
				return app.Usage("%q is not a time from 1s to 24h, such as 5m", args[0])
			}
			if r, err := control.QueryStatus(ctx, *socket); err == nil && r.Connected() > 0 {
				return app.Hint(errors.New("the tunnel is up, so there is nothing to pause"), "'systemctl stop stepvpn-client' ends it.")
			}
			if err := killswitch.Pause(d); err != nil {
				return err
			}
			// A running client does this by itself.
			if unlock, err := killswitch.Lock(state()); err == nil {
				defer unlock()
				if err := takeover.Recover(state()); err != nil {
					slog.Warn("names may not be found", "error", err)
				}
			}
			fmt.Printf("The kill switch is open for %v, or until the tunnel is up.\n", d.Truncate(time.Second))
			return nil
		}
	},
}
