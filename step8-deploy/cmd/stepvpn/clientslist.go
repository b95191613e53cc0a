package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/further/limits/plan"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/lastseen"
	"stepvpn/step8-deploy/registrar"
	"stepvpn/step8-deploy/status"
)

// clientsList is the command that lists the clients: those in the registry, or for a user who may not read
// that, those that the server lets in.
var clientsList = app.Command{
	Name:  "clients list",
	About: "List shows the clients that may come in.",
	Setup: func() func(context.Context, []string) error {
		registry := flag.String("registry", defaultDir+"/clients", "`file` with the clients")
		file := settingsFlag()
		socket := flag.String("socket", "", "ask the server at this `path` of status_socket (default: read the registry or, for users who may not, ask at "+config.ServerSocket+")")
		asJSON := flag.Bool("json", false, "print JSON, one client a line, as CONTROL.md describes it")
		return func(ctx context.Context, _ []string) error {
			list, err := listed(ctx, *registry, *file, *socket)
			if err != nil {
				return err
			}
			if *asJSON {
				return writeClients(os.Stdout, list)
			}
			return writeTable(os.Stdout, list)
		}
	},
}

// writeTable prints the clients for people. There is a column for limits if somebody has one.
func writeTable(to io.Writer, list []listing) error {
	head := []string{"NAME", "PUBLIC KEY", "ADDRESSES", "EXPIRES", "PASSWORD", "LAST SEEN"}
	limited := slices.ContainsFunc(list, func(c listing) bool { return c.limits() != "" })
	if limited {
		head = append(head, "LIMITS")
	}
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(head, "\t"))
	for _, c := range list {
		row := c.row()
		if limited {
			row = append(row, cmp.Or(c.limits(), "none"))
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// writeClients prints the clients for programs.
func writeClients(to io.Writer, list []listing) error {
	out := json.NewEncoder(to)
	for _, c := range list {
		if err := out.Encode(c.Client); err != nil {
			return err
		}
	}
	return nil
}

// limits returns what a client may use, or "" if there is no limit.
func (c listing) limits() string {
	var parts []string
	if c.LimitDown != 0 {
		parts = append(parts, "down "+plan.Rate(c.LimitDown).String())
	}
	if c.LimitUp != 0 {
		parts = append(parts, "up "+plan.Rate(c.LimitUp).String())
	}
	if q := c.Quota; q != nil {
		quota := "quota " + plan.Volume(q.Bytes).String()
		switch {
		case q.Over:
			quota += " (used up)"
		case q.Used != 0:
			quota += fmt.Sprintf(" (%d%% used)", 100*q.Used/max(q.Bytes, 1))
		}
		parts = append(parts, quota)
	}
	return strings.Join(parts, ", ")
}

// A listing is a client, and when it was last connected, for people.
type listing struct {
	control.Client
	seen string
}

// row returns a client's line in the list.
func (c listing) row() []string {
	addrs, expires, password := "any", "never", "no"
	if len(c.Addresses) > 0 {
		addrs = identity.FormatAddrs(c.Addresses)
	}
	if !c.Expires.IsZero() {
		expires = c.Expires.Format(time.RFC3339)
	}
	if c.Expired {
		expires += " (over)"
	}
	if c.Password {
		password = "yes"
	}
	return []string{c.Name, c.PublicKey, addrs, expires, password, c.seen}
}

// listed returns the clients.
func listed(ctx context.Context, registry, file, socket string) (list []listing, err error) {
	if socket != "" {
		return listedBy(ctx, socket)
	}
	s, err := serverOf(file)
	switch {
	case errors.Is(err, fs.ErrPermission) && file == "":
		return listedBy(ctx, config.ServerSocket)
	case err != nil && file != "":
		return nil, err
	case err != nil:
		slog.Warn("the server's settings can't be read", "error", err)
	case s != nil && !given("registry"):
		registry = s.Clients
	}
	all, err := identity.Load(registry)
	if err != nil {
		return nil, err
	}
	seen, running, now := lastSeen(ctx, s), told(ctx, s), time.Now()
	for c := range all.All() {
		one := listing{Client: control.ClientOf(c, now)}
		one.seen, one.LastSeen = seen(c)
		registrar.AddLimits(s, c, &one.Client, now)
		if by, is := running[one.PublicKey]; is {
			one.Session, one.NextKey = by.Session, by.NextKey
			if one.Quota != nil && by.Quota != nil {
				one.Quota.Used, one.Quota.Over = by.Quota.Used, by.Quota.Over
			}
		}
		list = append(list, one)
	}
	return list, nil
}

// told returns what a server that runs tells about its clients, by public key. If none answers, there is
// nothing: the registry has the rest.
func told(ctx context.Context, s *config.Server) map[string]control.Client {
	by := make(map[string]control.Client)
	if s == nil || s.StatusSocket == "" {
		return by
	}
	var answer control.Clients
	if control.Get(ctx, s.StatusSocket, "/clients", &answer) == nil {
		for _, c := range answer.Clients {
			by[c.PublicKey] = c
		}
	}
	return by
}

// listedBy returns the clients as a server that runs tells them.
func listedBy(ctx context.Context, socket string) (list []listing, err error) {
	report, err := control.QueryStatus(ctx, socket)
	if err != nil {
		return nil, err
	}
	var answer control.Clients
	if err := control.Get(ctx, socket, "/clients", &answer); err != nil {
		return nil, err
	}
	by := func(next bool) string { return byKey(report.NextKey != "", next) }
	for _, c := range answer.Clients {
		seen := "never"
		switch {
		case c.Session != nil:
			seen = "now" + by(c.Session.NextKey)
		case !c.LastSeen.IsZero():
			seen = c.LastSeen.Format(time.RFC3339) + by(c.NextKey)
		}
		list = append(list, listing{c, seen})
	}
	return list, nil
}

// lastSeen returns how to say when a client was last connected to a server, whose settings
// are nil if they are not known: "now" if it is, else the time that the server has noted. That time comes
// with it, if there is one.
func lastSeen(ctx context.Context, s *config.Server) func(*identity.Client) (string, time.Time) {
	if s == nil {
		return func(*identity.Client) (string, time.Time) { return "unknown", time.Time{} }
	}
	noted, err := lastseen.Read(keeper.SeenFile(s))
	if err != nil {
		slog.Warn("it is not known when clients were last seen", "error", err)
	}
	change := changeOf(s)
	now := connected(ctx, s, change)
	return func(c *identity.Client) (string, time.Time) {
		seen, known := noted[c.Key]
		switch peer, is := now[c.Name]; {
		case is:
			return "now" + change.by(peer.NextKey), seen.At
		case known:
			return seen.At.Format(time.RFC3339) + change.by(change.isNext(seen.By)), seen.At
		case err != nil:
			return "unknown", time.Time{}
		}
		return "never", time.Time{}
	}
}

// connected returns who is connected to a server that runs, by name, and whether by the next
// key of a change.
func connected(ctx context.Context, s *config.Server, change keyChange) map[string]status.Peer {
	now := make(map[string]status.Peer)
	if s.StatusSocket == "" {
		return now
	}
	if report, err := control.QueryStatus(ctx, s.StatusSocket); err == nil {
		for _, p := range report.Peers {
			p.NextKey = p.NextKey && report.NextKey == change.String()
			now[p.Name] = p
		}
	}
	return now
}
