package main

import (
	"context"
	"flag"
	"fmt"

	"stepvpn/shared/app"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/further/limits/plan"
)

// limitCommand is the command that changes what a client may use, or shows it. settings returns
// those of the server, or nil if they are not known.
func limitCommand(settings func() *config.Server) app.Command {
	return app.Command{
		Name: "limit", Args: "NAME",
		About: "Limit sets how fast a client may be, and how much it may use in a month; without flags it shows that.",
		Setup: func() func(context.Context, []string) error {
			registry := flag.String("registry", defaultDir+"/clients", "`file` with the clients")
			set := []change{
				{option: plan.Down, value: flag.String("down", "", "the `rate` to the client, such as 20Mbit/s; none, or default for the server's limit_down")},
				{option: plan.Up, value: flag.String("up", "", "the `rate` from the client; none, or default for limit_up")},
				{option: plan.Quota, value: flag.String("quota", "", "the `amount` that it may use in a month, both ways together, such as 100GB/month; none, or default for quota")},
			}
			return func(_ context.Context, args []string) error { return limit(*registry, args[0], set, settings()) }
		},
	}
}

// A change is a flag, and the option of the registry's line that it sets. "" leaves it.
type change struct {
	option identity.Option
	value  *string
}

// limit makes the changes, and prints what is then in force.
func limit(registry, name string, set []change, of *config.Server) error {
	var now *identity.Client
	err := identity.Edit(registry, func(d *identity.Draft) (err error) {
		if _, err := d.Find(name); err != nil {
			return err
		}
		for _, c := range set {
			value := *c.value
			switch value {
			case "":
				continue
			case "default":
				value = ""
			default:
				if err := c.option.Check(value); err != nil {
					return app.Usage("-%v: %w", c.option, err)
				}
			}
			if err := d.Set(name, c.option, value); err != nil {
				return err
			}
		}
		now, err = d.Find(name)
		return err
	})
	if err != nil {
		return err
	}
	var p plan.Plan
	if of != nil {
		p = of.Limits
	}
	p = p.Of(now)
	_, err = fmt.Printf("%s: down %v, up %v, quota %v\n", name, p.Down, p.Up, p.Quota)
	return err
}
