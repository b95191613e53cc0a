package main

import (
	"context"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/step8-deploy/names"
	"stepvpn/step8-deploy/privsep"
)

// namesCommand is the command of a third process of a client, which only systemd starts: it
// writes resolv.conf for a keeper that can't write to /etc. Package names has both ends.
var namesCommand = app.Command{
	Name:  "names",
	Args:  "SOCKET",
	About: "Writes resolv.conf for a client, which may not do so itself. It is started by systemd.",
	Setup: func() func(context.Context, []string) error {
		state := stateFlag()
		return func(ctx context.Context, args []string) error {
			keeper, never := new(names.Local), func(error) bool { return false }
			return privsep.Listen(ctx, args[0], atomicfile.Owner{}, 0, never, func(c *privsep.Conn) error {
				return names.Serve(c, keeper, state())
			})
		}
	},
}
