package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"strings"

	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/step6-dns/resolvconf"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/killswitch"
	"stepvpn/step8-deploy/takeover"
)

// recoverCommand is the command that puts the host back after a client was killed, without
// starting the client again.
var recoverCommand = app.Command{
	Name:  "recover",
	About: "Puts back what a killed client has left, and opens its kill switch, if the client is not to be started again.",
	Setup: func() func(context.Context, []string) error {
		state := stateFlag()
		return func(context.Context, []string) error { return recoverHost(state()) }
	},
}

// stateFlag defines the flag that names the client's folder, and returns a function that
// returns it: without the flag, that of the installed client.
func stateFlag() func() string {
	state := flag.String("state", "", "the `folder` that the client's settings name (default: that of "+installed+", or "+resolvconf.DefaultState+")")
	return func() string {
		if *state != "" {
			return *state
		}
		return stateOf(installed)
	}
}

// stateOf returns the state folder that a client's settings name or, if they can't be read, the default.
func stateOf(file string) string {
	if cfg, err := config.LoadClient(file); err == nil {
		return cfg.State
	}
	return resolvconf.DefaultState
}

// installed is the settings file of the installed client.
const installed = defaultDir + "/client.toml"

// readOnly reports whether a folder is on a read-only disk. Its owner may need the network to
// repair that.
func readOnly(folder string) bool { return errors.Is(unix.Access(folder, unix.W_OK), unix.EROFS) }

// recoverHost puts the host back. While a client runs, it does nothing but return an error. If
// anything can't be put back, the kill switch stays closed, and the error says what is left;
// another call then does the rest. But if the state folder is on a read-only disk, the switch
// is opened anyway.
func recoverHost(state string) error {
	unlock, err := killswitch.Lock(state)
	switch {
	case errors.Is(err, killswitch.ErrRuns):
		return err
	case err != nil:
		slog.Warn("could not find out whether a client is running", "error", err)
	default:
		defer unlock()
	}
	err = takeover.Recover(state)
	if err != nil && !readOnly(state) {
		hint := strings.TrimSpace(app.HintOf(err) + " Once that is solved, 'stepvpn recover' does the rest.")
		return app.Hint(fmt.Errorf("not everything could be put back, so the kill switch stays closed: %w", err), "%s", hint)
	}
	return errors.Join(err, killswitch.Open(state))
}
