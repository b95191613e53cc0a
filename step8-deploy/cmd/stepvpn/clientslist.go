package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/lastseen"
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
		return func(ctx context.Context, _ []string) error {
			list, err := listed(ctx, *registry, *file, *socket)
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, strings.Join([]string{"NAME", "PUBLIC KEY", "ADDRESSES", "EXPIRES", "PASSWORD", "LAST SEEN"}, "\t"))
			for _, c := range list {
				fmt.Fprintln(w, strings.Join(c.row(), "\t"))
			}
			return w.Flush()
		}
	},
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
	seen := lastSeen(ctx, s)
	for c := range all.All() {
		list = append(list, listing{control.ClientOf(c, time.Now()), seen(c)})
	}
	return list, nil
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
// are nil if they are not known: "now" if it is, else the time that the server has noted.
func lastSeen(ctx context.Context, s *config.Server) func(*identity.Client) string {
	if s == nil {
		return func(*identity.Client) string { return "unknown" }
	}
	noted, err := lastseen.Read(keeper.SeenFile(s))
	if err != nil {
		slog.Warn("it is not known when clients were last seen", "error", err)
	}
	change := changeOf(s)
	now := connected(ctx, s, change)
	return func(c *identity.Client) string {
		seen, known := noted[c.Key]
		switch peer, is := now[c.Name]; {
		case is:
			return "now" + change.by(peer.NextKey)
		case known:
			return seen.At.Format(time.RFC3339) + change.by(change.isNext(seen.By))
		case err != nil:
			return "unknown"
		}
		return "never"
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
