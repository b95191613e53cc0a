package registrar

import (
	"strings"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/further/limits/plan"
	"stepvpn/step8-deploy/status"
)

// This file sets what a client may use: package limits sees to it.

// Default is the value of a limit for what the server's settings say.
const Default = "default"

// Limit sets what a client may use: see control.Limit. At least one of the fields must not be "".
func (r *Registrar) Limit(name string, l control.Limit) (control.Change, error) {
	values := map[identity.Option]string{plan.Down: l.Down, plan.Up: l.Up, plan.Quota: l.Quota}
	for option, value := range values {
		switch value {
		case "":
			delete(values, option)
		case Default:
			values[option] = ""
		default:
			if err := option.Check(value); err != nil {
				return control.Change{}, app.Usage("-%v: %w", option, err)
			}
		}
	}
	if len(values) == 0 {
		return control.Change{}, app.Usage("nothing is to be set: down, up and quota are missing")
	}
	return r.set(name, func(d *identity.Draft) error {
		for _, option := range []identity.Option{plan.Down, plan.Up, plan.Quota} {
			value, is := values[option]
			if !is {
				continue
			}
			if err := d.Set(name, option, value); err != nil {
				return err
			}
		}
		return nil
	})
}

// AddLimits adds to an answer what a client may use, by its line or else by the settings, which are nil if
// they are not known.
func AddLimits(settings *config.Server, c *identity.Client, to *control.Client, now time.Time) {
	var p plan.Plan
	if settings != nil {
		p = settings.Limits
	}
	p = p.Of(c)
	to.LimitDown, to.LimitUp, to.OwnLimits = int64(p.Down), int64(p.Up), OwnLimits(c)
	if p.Quota != 0 {
		to.Quota = &status.Quota{Bytes: uint64(p.Quota), Anew: plan.Next(now, p.StartDay()), Slow: int64(p.Slow)}
	}
}

// OwnLimits returns what a client's line says of its limits, or nil if all is by the settings.
func OwnLimits(c *identity.Client) *control.Limit {
	own := control.Limit{Down: plan.Down.Of(c), Up: plan.Up.Of(c), Quota: plan.Quota.Of(c)}
	if own == (control.Limit{}) {
		return nil
	}
	return &own
}

// limitDetail says what a request asks for, for the audit log.
func limitDetail(l control.Limit) string {
	var parts []string
	for _, f := range []struct{ name, value string }{{"down=", l.Down}, {"up=", l.Up}, {"quota=", l.Quota}} {
		if f.value != "" {
			parts = append(parts, f.name+f.value)
		}
	}
	return strings.Join(parts, " ")
}
