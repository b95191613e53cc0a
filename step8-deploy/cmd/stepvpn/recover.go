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

var recoverCommand = app.Command{
	Name:  "recover",
	About: "Puts back what a client that was killed has left, and opens its kill switch, when none is to be started again.",
	Setup: func() func(context.Context, []string) error {
		state := stateFlag()
		return func(context.Context, []string) error { return recoverHost(state()) }
	},
}

// stateFlag defines the flag that names the client's folder, and returns what says which
// it is: without the flag, the one of the installed client.
func stateFlag() func() string {
	state := flag.String("state", "", "the `folder` that the client's settings name (default: that of "+installed+", or "+resolvconf.DefaultState+")")
	return func() string {
		if *state != "" {
			return *state
		}
		if cfg, err := config.LoadClient(installed); err == nil {
			return cfg.State
		}
		return resolvconf.DefaultState
	}
}

// installed is the file of the client's unit.
const installed = defaultDir + "/client.toml"

// readOnly tells whether a folder is on a disk that can't be written to. Who is to mend that
// may need the network for it.
func readOnly(folder string) bool { return errors.Is(unix.Access(folder, unix.W_OK), unix.EROFS) }

// recoverHost puts the host back. While a client runs it does nothing. If anything can't
// be put back the kill switch stays closed, and the error says what is left: once more then
// does the rest. Only a state folder that can't be written to keeps nothing closed.
func recoverHost(state string) error {
	unlock, err := killswitch.Lock(state)
	switch {
	case errors.Is(err, killswitch.ErrRuns):
		return err
	case err != nil:
		slog.Warn("it is not known whether a client runs", "error", err)
	default:
		defer unlock()
	}
	err = takeover.Recover(state)
	if err != nil && !readOnly(state) {
		hint := strings.TrimSpace(app.HintOf(err) + " Once that is mended, 'stepvpn recover' does the rest.")
		return app.Hint(fmt.Errorf("not all is put back, and what the kill switch has closed stays closed: %w", err), "%s", hint)
	}
	return errors.Join(err, killswitch.Open(state))
}
