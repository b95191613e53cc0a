package main

import (
	"context"
	"fmt"

	"stepvpn/shared/app"
	"stepvpn/step8-deploy/config"
)

var check = app.Command{
	Name:  "check",
	Args:  "FILE",
	About: "Says what is wrong with the settings of a server or a client, and with the keys that they name.",
	Setup: func() func(context.Context, []string) error {
		return func(_ context.Context, args []string) error {
			kind, err := config.Kind(args[0])
			if err != nil {
				return err
			}
			if err := checkAs(kind, args[0]); err != nil {
				return err
			}
			fmt.Printf("%s: the settings of a %s, and they are fine\n", args[0], kind)
			return nil
		}
	},
}

func checkAs(kind, file string) error {
	if kind == config.KindServer {
		s, err := config.LoadServer(file)
		if err != nil {
			return err
		}
		if warning := s.Warning(); warning != "" {
			fmt.Printf("%s: %s\n", file, warning)
		}
		return s.CheckFiles()
	}
	c, err := config.LoadClient(file)
	if err != nil {
		return err
	}
	return c.CheckFiles()
}
