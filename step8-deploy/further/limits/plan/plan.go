package plan

import (
	"fmt"
	"strings"
	"time"

	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/identity"
)

// A Plan is what a client may use. The zero value allows everything.
type Plan struct {
	Down, Up Rate   // to the client, and from it
	Quota    Volume // both together
	Day      int    // of the month, on which a quota begins anew; 0 stands for 1
	Slow     Rate   // what is left of Down and Up, each, when the quota is used up; 0: nothing
}

// The options of a registry's line that this package adds. Each has precedence over the default.
var (
	Down  = identity.NewOption("down", checker(ParseRate))
	Up    = identity.NewOption("up", checker(ParseRate))
	Quota = identity.NewOption("quota", checker(ParseVolume))
)

func checker[T any](parse func(string) (T, error)) func(string) error {
	return func(s string) error {
		_, err := parse(s)
		return err
	}
}

// Of returns the plan of a client in the registry: its own options, else those of the default.
func (p Plan) Of(c *identity.Client) Plan {
	if s := Down.Of(c); s != "" {
		p.Down, _ = ParseRate(s) // identity has checked it
	}
	if s := Up.Of(c); s != "" {
		p.Up, _ = ParseRate(s)
	}
	if s := Quota.Of(c); s != "" {
		p.Quota, _ = ParseVolume(s)
	}
	return p
}

// StartDay returns the day of the month on which a quota begins anew.
func (p Plan) StartDay() int { return max(p.Day, 1) }

// ParseThen reads what happens when a quota is used up: "cut off", or "slow RATE".
func ParseThen(s string) (slow Rate, err error) {
	if s == "cut off" {
		return 0, nil
	}
	if rate, is := strings.CutPrefix(s, "slow "); is && rate != none {
		return ParseRate(rate)
	}
	return 0, fmt.Errorf("%q, which is neither", cut(s))
}

// UsedUp is what a client is told when its quota is used up.
func (p Plan) UsedUp(now time.Time) secure.Rejected {
	anew := Next(now, p.StartDay()).Format("2 January")
	if p.Slow != 0 {
		return secure.Rejected{Reason: fmt.Sprintf("your quota of %s for this month is used up: you are slowed down to %v until it begins anew on %s", p.Quota.Amount(), p.Slow, anew)}
	}
	return secure.Rejected{Reason: fmt.Sprintf("your quota of %s for this month is used up; it begins anew on %s", p.Quota.Amount(), anew), Final: true}
}
