package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/admission"
	"stepvpn/step7-auth/clients"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/lastseen"
	"stepvpn/step8-deploy/status"
)

// clientsCommands returns the commands that manage the registry of clients, such as 'clients
// add'. They are those of step 7, except for init, which is 'init server' here, and limit. They take from
// the server's settings what their flags don't say. When they end, a running server has taken
// over their changes. The file that 'clients add' writes is what the client's service reads.
func clientsCommands() (list []app.Command) {
	var of *config.Server // nil if they are not known
	var seen func(*identity.Client) string
	var phone *addedPhone // of 'clients add'
	for _, c := range append(clients.Commands(clients.Defaults{
		Registry: defaultDir + "/clients", Key: defaultDir + "/server.key",
		Format: func() func(*identity.Client, *identity.Profile) (string, error) {
			phone = newPhone(clientFile())
			return phone.file
		},
		Addrs: func(r *identity.Registry) ([]netip.Addr, error) { return phone.addrs(r) },
		Login: "login_file, and beside it that file: the user name and the password, one a line, mode 0600",
		Check: func(r *identity.Registry) error {
			if of == nil {
				return nil
			}
			return admission.Check(r, of.Subnets)
		},
		OwnPSK: func(client noise.PublicKey) (*[noise.KeyLen]byte, error) {
			if of == nil {
				return nil, app.Usage("-own-psk needs the server's settings: name them by -settings")
			}
			return keeper.NewOwnPSK(of, client)
		},
		Seen: func(c *identity.Client) string { return seen(c) },
	}), limitCommand(func() *config.Server { return of })) {
		if c.Name == "init" {
			continue
		}
		setup, adds, lists := c.Setup, c.Name == "add", c.Name == "list"
		c.Name, c.Setup = "clients "+c.Name, func() func(context.Context, []string) error {
			run := setup()
			file := flag.String("settings", "", "the server's `file` of settings, for what other flags do not say (default: server.toml beside the registry)")
			return func(ctx context.Context, args []string) (err error) {
				if of, err = serverOf(*file); err != nil {
					if adds || *file != "" {
						return err
					}
					slog.Warn("the server's settings can't be read", "error", err)
				}
				if adds {
					if err := phone.check(of); err != nil {
						return err
					}
				}
				if of != nil {
					fillIn(of, keyFileFor(ctx, of, adds))
				}
				if adds {
					if err := phone.fillIn(); err != nil {
						return err
					}
				}
				if lists {
					seen = lastSeen(ctx, of)
				}
				err = run(ctx, args)
				if adds {
					phone.end(ctx, err)
				}
				if err != nil || of == nil {
					return err
				}
				return untilInForce(ctx, of)
			}
		}
		list = append(list, c)
	}
	return list
}

// serverOf returns the settings of the server whose clients the commands are about: those
// of a file, or if that is "", those beside the registry, if there are any.
func serverOf(file string) (*config.Server, error) {
	if file != "" {
		return config.LoadServer(file)
	}
	registry := defaultDir + "/clients"
	if f := flag.Lookup("registry"); f != nil {
		registry = f.Value.String()
	}
	file = filepath.Join(filepath.Dir(registry), "server.toml")
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	s, err := config.LoadServer(file)
	if err == nil && filepath.Clean(s.Clients) != filepath.Clean(registry) {
		return nil, nil // of another registry
	}
	return s, err
}

// fillIn gives the flags that were not given the values of the server's settings, and key the
// name of the file with its private key.
func fillIn(s *config.Server, key string) {
	given := make(map[string]string)
	flag.Visit(func(f *flag.Flag) { given[f.Name] = f.Value.String() })
	set := func(name, value string) {
		if _, is := given[name]; !is && flag.Lookup(name) != nil {
			flag.Set(name, value)
		}
	}
	set("registry", s.Clients)
	set("key", key)
	set("psk", s.PSK)
	if !slices.Contains(s.Transports, "udp") {
		set("transport", "tcp")
	}
	if host := given["server"]; host != "" {
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
			flag.Set("server", net.JoinHostPort(host, strconv.Itoa(int(s.Listen[0].Port()))))
		}
	}
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
	if report, err := status.Query(ctx, s.StatusSocket); err == nil {
		for _, p := range report.Peers {
			p.NextKey = p.NextKey && report.NextKey == change.String()
			now[p.Name] = p
		}
	}
	return now
}

// A command that has changed the registry waits until the server has read it, which takes a
// second.
const (
	inForceIn = 15 * time.Second
	askIfEach = 50 * time.Millisecond
)

// untilInForce waits until the server, if it runs, lets in whom the registry lets in.
func untilInForce(ctx context.Context, s *config.Server) error {
	r, err := identity.Load(s.Clients)
	if err != nil {
		return err
	}
	want := fmt.Sprintf("%x", r.Digest())
	limit := time.After(inForceIn)
	for {
		now, err := status.Query(ctx, s.StatusSocket)
		if s.StatusSocket == "" || err != nil || now.Registry == "" || now.Registry == want {
			return nil // it does not run, or can't be asked
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-limit:
			return app.Hint(errors.New("this is written, but the server that runs does not act upon it"),
				"Its log says why: journalctl -u 'stepvpn-server*'. 'stepvpn check' says what is wrong.")
		case <-time.After(askIfEach):
		}
	}
}

func clientFile() func(*identity.Client, *identity.Profile) (string, error) {
	transport := flag.String("transport", "udp", "have the client's packets carried by `udp` or tcp")
	return func(_ *identity.Client, p *identity.Profile) (string, error) {
		text, err := config.ClientTemplate{
			File:       defaultDir + "/client.toml",
			Servers:    []string{p.Server},
			ServerKey:  noise.FormatKey(p.ServerKey),
			Transport:  *transport,
			PrivateKey: secretText(&p.PrivateKey),
			PSK:        secretText(p.PresharedKey),
			User:       p.User,
		}.Render()
		return string(text), err
	}
}

// secretText returns a key in base64, or "" for none.
func secretText[K ~[config.KeySize]byte](key *K) string {
	if key == nil || *key == *new(K) {
		return ""
	}
	return noise.FormatKey(*key)
}
