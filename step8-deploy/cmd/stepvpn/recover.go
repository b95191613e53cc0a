package main

import (
	"context"
	"flag"

	"stepvpn/shared/app"
	"stepvpn/step6-dns/resolvconf"
	"stepvpn/step8-deploy/killswitch"
	"stepvpn/step8-deploy/takeover"
)

var recoverCommand = app.Command{
	Name:  "recover",
	About: "Puts back what a client that was killed has left, when none is to be started again.",
	Setup: func() func(context.Context, []string) error {
		state := flag.String("state", resolvconf.DefaultState, "the `folder` that the client's settings name")
		return func(context.Context, []string) error {
			// While a client runs, it refuses, and the kill switch stays as it is.
			if err := takeover.Recover(*state); err != nil {
				return err
			}
			return killswitch.Recover()
		}
	},
}
