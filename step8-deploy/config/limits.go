package config

import (
	"errors"

	"stepvpn/step8-deploy/further/limits/plan"
)

// This file has the settings about what each client may use, unless its line in the registry says
// otherwise.

const (
	allowedRate  = `"none", or "64kbit/s" to "100Gbit/s", in kbit/s, Mbit/s or Gbit/s (bits, not bytes; k is 1000)`
	allowedQuota = `"none", or "1MB/month" to "1000TB/month", in MB, GB, TB (M is 1000*1000) or MiB, GiB, TiB`
	allowedThen  = `"cut off", or "slow RATE", such as "slow 1Mbit/s"`
)

func limitSettings() []setting[Server] {
	type S = Server
	return []setting[Server]{
		{key: "limit_down", allowed: allowedRate, def: "none",
			set: text(func(s *S) *plan.Rate { return &s.Limits.Down }, briefly(plan.ParseRate))},
		{key: "limit_up", allowed: allowedRate, def: "none",
			set: text(func(s *S) *plan.Rate { return &s.Limits.Up }, briefly(plan.ParseRate))},
		{key: "quota", allowed: allowedQuota, def: "none",
			set: text(func(s *S) *plan.Volume { return &s.Limits.Quota }, briefly(plan.ParseVolume))},
		{key: "quota_day", allowed: "1 to 28", def: int64(1),
			set: number(func(s *S) *int { return &s.Limits.Day }, 1, 28, false)},
		{key: "quota_then", allowed: allowedThen, def: "cut off",
			set: text(func(s *S) *plan.Rate { return &s.Limits.Slow }, briefly(plan.ParseThen))},
	}
}

// briefly leaves out of an error what is allowed: that follows anyway.
func briefly[T any](read func(string) (T, error)) func(string) (T, error) {
	return func(s string) (T, error) {
		v, err := read(s)
		if why := errors.Unwrap(err); why != nil {
			err = why
		}
		if err != nil {
			err = errors.New("is " + err.Error())
		}
		return v, err
	}
}
