package main

import (
	"context"
	"flag"
	"fmt"

	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/further/limits/plan"
	"stepvpn/step8-deploy/registrar"
)

// clientsLimit is the command that changes what a client may use, or shows it.
var clientsLimit = changeCommand("limit", "NAME", "Limit sets how fast a client may be, and how much it may use in a month; without flags it shows that.", func() changeFunc {
	var set control.Limit
	flag.StringVar(&set.Down, "down", "", "the `rate` to the client, such as 20Mbit/s; none, or default for the server's limit_down")
	flag.StringVar(&set.Up, "up", "", "the `rate` from the client; none, or default for limit_up")
	flag.StringVar(&set.Quota, "quota", "", "the `amount` that it may use in a month, both ways together, such as 100GB/month; none, or default for quota")
	return func(_ context.Context, r registrar.Changes, args []string) (c control.Change, done string, err error) {
		if set != (control.Limit{}) {
			if c, err = r.Limit(args[0], set); err != nil {
				return c, "", err
			}
		}
		now, err := r.Look(args[0])
		var quota plan.Volume
		if now.Quota != nil {
			quota = plan.Volume(now.Quota.Bytes)
		}
		return c, fmt.Sprintf("%s: down %v, up %v, quota %v\n", args[0], plan.Rate(now.LimitDown), plan.Rate(now.LimitUp), quota), err
	}
})
