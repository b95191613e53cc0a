package main

import (
	"context"
	"fmt"

	"stepvpn/shared/app"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/keeper"
)

// check is the command that checks a file of settings, and whether this host can do what they
// say.
var check = app.Command{
	Name:  "check",
	Args:  "FILE",
	About: "Says what a server or a client would say if it were started with these settings now, without starting it.",
	Setup: func() func(context.Context, []string) error {
		return func(ctx context.Context, args []string) error { return checkFile(ctx, args[0]) }
	},
}

// checkFile prints what is wrong with a file of settings. Package keeper finds it.
func checkFile(ctx context.Context, file string) error {
	kind, err := config.Kind(file)
	if err != nil {
		return err
	}
	checkAs := keeper.CheckServer
	if kind == config.KindClient {
		checkAs = keeper.CheckClient
	}
	found, err := checkAs(ctx, file)
	if err != nil {
		return err
	}
	for _, p := range found.Warnings {
		app.Tell(app.Hint(fmt.Errorf("warning: %s", p.What), "%s", p.Cure))
	}
	for _, err := range found.Errors {
		app.Tell(err)
	}
	if len(found.Errors) > 0 {
		return app.ErrTold
	}
	fmt.Printf("%s: the settings of a %s, and they are fine\n", file, kind)
	return nil
}
