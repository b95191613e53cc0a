package main

import (
	"context"
	"errors"
	"flag"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step7-auth/hub"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/usage"
)

// usageCommand is the command that shows what clients have used.
var usageCommand = app.Command{
	Name:  "usage",
	Args:  "[NAME]",
	About: "Shows how much the clients of this server have sent and received: each since a time, or one of them step by step. It outlives restarts.",
	Setup: func() func(context.Context, []string) error {
		file := flag.String("settings", "", "the server's `file` of settings (default: server.toml in "+defaultDir+")")
		since := flag.String("since", "24h", "count from a `time` on: so long ago (90m, 24h, 30d), or a date or time in UTC (2026-11-01, 2026-11-01T06:00:00Z)")
		step := flag.String("step", "", "show each `step` of the time: 1s, 1m, 1h or 1d; without NAME, of all clients together (default: what fits the time, with NAME)")
		asJSON := flag.Bool("json", false, "print JSON, in bytes and seconds")
		asCSV := flag.Bool("csv", false, "print comma-separated values, in bytes and seconds")
		forget := flag.Bool("forget", false, "erase all that is kept about the client NAME, and about others that had that name")
		return func(ctx context.Context, args []string) error {
			q, err := queryOf(args, *since, *step, time.Now())
			if err != nil {
				return err
			}
			if *asJSON && *asCSV {
				return app.Usage("-json and -csv exclude each other")
			}
			s, err := serverSettings(*file)
			if err != nil {
				return err
			}
			if *forget {
				if len(args) == 0 {
					return app.Usage("-forget needs the NAME of a client")
				}
				return usage.Forget(ctx, keeper.PoolFolder(s), args[0])
			}
			r, err := askUsage(ctx, s, q)
			switch {
			case err != nil:
				return err
			case *asJSON:
				return r.WriteJSON(os.Stdout)
			case *asCSV:
				return r.WriteCSV(os.Stdout)
			}
			return r.WriteTable(os.Stdout)
		}
	},
}

// serverSettings returns the settings in a file, or if that is "", those in the default folder.
func serverSettings(file string) (*config.Server, error) {
	if file == "" {
		file = defaultDir + "/server.toml"
	}
	return config.LoadServer(file)
}

// queryOf returns what the command line asks.
func queryOf(args []string, since, step string, now time.Time) (q usage.Query, err error) {
	if q.Since, err = parseSince(since, now); err != nil {
		return q, err
	}
	if len(args) > 0 {
		q.Client = args[0]
		q.Step = usage.FitStep(now.Sub(q.Since))
	}
	if step != "" {
		d, err := parseSpan(step)
		if err != nil || d <= 0 {
			return q, app.Usage("-step %q: it can be 1s, 1m, 1h or 1d", step)
		}
		q.Step = d
	}
	return q, nil
}

// parseSince reads a time in the past.
func parseSince(text string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			if t.After(now) {
				return t, app.Usage("-since %s is in the future", text)
			}
			return t.UTC(), nil
		}
	}
	d, err := parseSpan(text)
	if err != nil || d <= 0 || d > maxSince {
		return now, app.Usage("-since %q is not a time, such as 24h, 30d or 2026-11-01", text)
	}
	return now.Add(-d).UTC(), nil
}

const maxSince = 100 * 365 * 24 * time.Hour

// parseSpan reads a duration, which may be in days.
func parseSpan(text string) (time.Duration, error) {
	if number, is := strings.CutSuffix(text, "d"); is {
		n, err := strconv.ParseUint(number, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(text)
}

// askUsage asks the server at its status socket, which knows the last seconds, too. If none
// answers there, it reads the files.
func askUsage(ctx context.Context, s *config.Server, q usage.Query) (*usage.Result, error) {
	if s.StatusSocket != "" {
		r := new(usage.Result)
		if err := control.Get(ctx, s.StatusSocket, "/usage?"+q.Values().Encode(), r); !errors.Is(err, control.ErrNoDaemon) {
			return r, err
		}
	}
	r, err := usage.Read(keeper.PoolFolder(s), q)
	if errors.Is(err, fs.ErrNotExist) {
		err = usage.NotKept(keeper.PoolFolder(s))
	}
	return r, err
}

// usageRoute is GET /v1/usage.
func usageRoute(used usageLog) control.Route {
	return control.Route{Pattern: "GET /usage", Do: func(r *control.Request) (any, error) {
		q, err := usage.ParseQuery(r.Query)
		if err != nil {
			return nil, control.Refuse(http.StatusBadRequest, err)
		}
		answer, err := used.Query(r.Context, q)
		if app.IsUsage(err) {
			err = control.Refuse(http.StatusBadRequest, err)
		}
		return answer, err
	}}
}

// A usageLog keeps what clients use, or does nothing.
type usageLog interface {
	Ended(hub.Status)
	Start(snapshot func() []hub.Status) (stop func())
	Query(context.Context, usage.Query) (*usage.Result, error)
}

// usageOf returns the usage log that a server's settings ask for.
func usageOf(given *keeper.Handover) usageLog {
	if !given.Server.Usage {
		return noUsage{}
	}
	return usage.New(given.Path(keeper.PoolName))
}

// noUsage stands for a usage log that is switched off.
type noUsage struct{}

func (noUsage) Ended(hub.Status)                 {}
func (noUsage) Start(func() []hub.Status) func() { return func() {} }
func (noUsage) Query(context.Context, usage.Query) (*usage.Result, error) {
	return nil, control.Refuse(http.StatusNotFound, app.Hint(errors.New("this server does not keep what clients use"),
		"It does with usage = true in its settings."))
}
