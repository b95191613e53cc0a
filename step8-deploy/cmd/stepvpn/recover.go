package main

import (
	"context"
	"errors"
	"flag"

	"stepvpn/shared/app"
	"stepvpn/step6-dns/resolvconf"
	"stepvpn/step8-deploy/killswitch"
	"stepvpn/step8-deploy/takeover"
)

var recoverCommand = app.Command{
	Name:  "recover",
	About: "Puts back what a client that was killed has left, and opens its kill switch, when none is to be started again.",
	Setup: func() func(context.Context, []string) error {
		state := stateFlag()
		return func(context.Context, []string) error { return recoverHost(*state) }
	},
}

func stateFlag() *string {
	return flag.String("state", resolvconf.DefaultState, "the `folder` that the client's settings name")
}

// recoverHost puts the host back. While a client runs it does nothing. What can't be
// put back does not keep the switch closed.
func recoverHost(state string) error {
	unlock, err := killswitch.Lock(state)
	if err != nil {
		return err
	}
	defer unlock()
	return errors.Join(takeover.Recover(state), killswitch.Open(state))
}
