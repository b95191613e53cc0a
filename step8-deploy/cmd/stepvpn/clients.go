package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step7-auth/clients"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/registrar"
)

// This file has the commands that change who may come in. They are the same whoever makes the changes
// (package registrar): the server that runs, if this user may use its control socket, or else this process,
// if it may write the registry. When they end, a server that runs has taken over the change. clientsadd.go has
// 'clients add', clientslist.go has 'clients list'.

func clientsCommands() (list []app.Command) {
	list = append(list, clientsAdd, clientsList, clientsLimit,
		changeCommand("passwd", "NAME", "Passwd sets a password that the client must give as well.", passwd),
		changeCommand("revoke", "NAME", "Revoke keeps a client out from now on.", func() changeFunc {
			return func(_ context.Context, r registrar.Changes, args []string) (c control.Change, done string, err error) {
				if c, err = r.Revoke(args[0]); c.Revoked != "" {
					return c, fmt.Sprintf("%s: was revoked already, on %s.\n", args[0], c.Revoked), err
				}
				return c, fmt.Sprintf("%s: revoked. A running server cuts it off now.\n", args[0]), err
			}
		}),
		changeCommand("expire", "NAME WHEN", "Expire refuses a client from a date on, such as 2026-12-31, 2026-12-31T18:00:00Z, or after a time such as 720h; or never.", func() changeFunc {
			return func(_ context.Context, r registrar.Changes, args []string) (c control.Change, done string, err error) {
				if c, err = r.Expire(args[0], args[1]); c.Expires.IsZero() {
					return c, fmt.Sprintf("%s: does not expire any more.\n", args[0]), err
				}
				return c, fmt.Sprintf("%s: is refused from %s on.\n", args[0], c.Expires.Format(time.RFC3339)), err
			}
		}),
		changeCommand("rename", "NAME NEW", "Rename gives a client another name. Its file and its key stay as they are.", func() changeFunc {
			return func(_ context.Context, r registrar.Changes, args []string) (c control.Change, done string, err error) {
				c, err = r.Rename(args[0], args[1])
				return c, fmt.Sprintf("%s: is called %s from now on.\n", args[0], args[1]), err
			}
		}))
	for _, c := range clients.Commands(clients.Defaults{Registry: defaultDir + "/clients", Key: defaultDir + "/server.key"}) {
		if c.Name == "public-key" {
			c.Name = "clients " + c.Name
			setup := c.Setup
			c.Setup = func() func(context.Context, []string) error {
				run, file := setup(), settingsFlag()
				return func(ctx context.Context, args []string) error {
					s, err := serverOf(*file)
					if err != nil && *file != "" {
						return err
					}
					if s != nil && !given("key") {
						flag.Set("key", s.Key)
					}
					return run(ctx, args)
				}
			}
			list = append(list, c)
		}
	}
	return list
}

// A changeFunc makes a change, and says what was done.
type changeFunc func(ctx context.Context, r registrar.Changes, args []string) (c control.Change, done string, err error)

// changeCommand returns a command that changes something. setup defines its own flags.
func changeCommand(name, args, about string, setup func() changeFunc) app.Command {
	return app.Command{Name: "clients " + name, Args: args, About: about, Setup: func() func(context.Context, []string) error {
		o := newOffice(new(clients.Addition))
		flag.StringVar(&o.files.Registry, "registry", defaultDir+"/clients", "`file` with the clients")
		run := setup()
		return func(ctx context.Context, args []string) error {
			r, err := o.open(ctx)
			if err != nil {
				return err
			}
			c, done, err := run(ctx, r, args)
			if err != nil {
				return err
			}
			if _, err := fmt.Print(done); err != nil {
				return err
			}
			return o.untilInForce(ctx, r, c)
		}
	}}
}

func passwd() changeFunc {
	remove := flag.Bool("delete", false, "no longer ask the client for a password")
	return func(ctx context.Context, r registrar.Changes, args []string) (c control.Change, done string, err error) {
		const file = "login_file, and beside it that file: the user name and the password, one a line, mode 0600"
		name := args[0]
		// Check this before the question, so that nobody chooses a password in vain.
		if _, err := r.Look(name); err != nil {
			return c, "", err
		}
		if *remove {
			c, err = r.SetPassword(name, "")
			return c, fmt.Sprintf("%s: comes in without a password now. Its client file no longer needs %s.\n", name, file), err
		}
		hash, err := clients.NewPassword(ctx, name)
		if err != nil {
			return c, "", err
		}
		c, err = r.SetPassword(name, hash.String())
		return c, fmt.Sprintf("%s: comes in with its key and this password. Its client file needs %s.\n", name, file), err
	}
}

// An office is where a command has its changes made.
type office struct {
	settings *string
	socket   *string
	files    *clients.Addition // what flags say about the files; open fills in the rest

	server *config.Server // nil if the settings are not known
	cause  error          // why they are not; nil: there are none
	runs   bool           // whether the server that runs makes the changes
}

func newOffice(files *clients.Addition) *office {
	return &office{
		settings: settingsFlag(),
		socket:   flag.String("socket", "", "have changes made by the server at this `path` of control_socket (default: that in the settings, or "+config.ServerControl+")"),
		files:    files,
	}
}

func settingsFlag() *string {
	return flag.String("settings", "", "the server's `file` of settings, for what other flags do not say (default: server.toml beside the registry)")
}

// given reports whether a flag was given.
func given(name string) (is bool) {
	flag.Visit(func(f *flag.Flag) { is = is || f.Name == name })
	return is
}

// open returns what makes the changes.
func (o *office) open(ctx context.Context) (registrar.Changes, error) {
	o.server, o.cause = serverOf(*o.settings)
	hidden := errors.Is(o.cause, fs.ErrPermission)
	if o.cause != nil && !hidden && *o.settings != "" {
		return nil, o.cause
	}
	if o.cause != nil && !hidden {
		slog.Warn("the server's settings can't be read", "error", o.cause)
	}
	own := registrar.Registrar{Settings: o.server, Files: *o.files}
	if o.server != nil {
		own = *registrar.New(o.server, keyFileFor(ctx, o.server))
		for _, f := range []struct {
			name string
			is   string
			to   *string
		}{{"registry", o.files.Registry, &own.Files.Registry}, {"key", o.files.Key, &own.Files.Key}, {"server-key", o.files.ServerKey, &own.Files.ServerKey}, {"psk", o.files.PSK, &own.Files.PSK}} {
			if given(f.name) {
				*f.to = f.is
			}
		}
	}
	o.files.Registry, o.files.Key, o.files.ServerKey, o.files.PSK = own.Files.Registry, own.Files.Key, own.Files.ServerKey, own.Files.PSK
	r, err := o.running(ctx)
	switch {
	case err == nil && r != nil:
		o.runs = true
		return r, nil
	case err != nil && (hidden || *o.socket != ""): // otherwise there is no way
		return nil, err
	case err != nil && !errors.Is(err, control.ErrNoDaemon):
		slog.Warn("the server that runs can't be asked, so the registry is changed by this command itself", "error", err)
	}
	return &own, nil
}

// running returns the server that runs, if it can make the changes, as its settings and flags say: nil if
// it is another one's registry, or if flags name other files than the server's.
func (o *office) running(ctx context.Context) (registrar.Changes, error) {
	path := *o.socket
	switch {
	case path != "":
	case o.server != nil:
		path = o.server.ControlSocket
	case o.cause != nil:
		path = config.ServerControl
	}
	if path == "" || o.othersFiles() {
		return nil, nil
	}
	var about control.About
	if err := control.Get(ctx, path, "/server", &about); err != nil {
		return nil, err
	}
	if o.server != nil && !sameFile(about.Registry, o.files.Registry) {
		return nil, nil
	}
	return registrar.At(ctx, path), nil
}

// othersFiles reports whether flags name files that the server's settings do not.
func (o *office) othersFiles() bool {
	if o.server == nil {
		return slices.ContainsFunc([]string{"registry", "key", "server-key", "psk"}, given)
	}
	differs := func(name, is, want string) bool { return given(name) && !sameFile(is, want) }
	return given("server-key") || differs("registry", o.files.Registry, o.server.Clients) ||
		differs("key", o.files.Key, o.server.Key) || differs("psk", o.files.PSK, o.server.PSK)
}

func sameFile(a, b string) bool {
	one, err1 := os.Stat(a)
	other, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(one, other)
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

// inForceIn is how long a command that has changed the registry waits until the server has read it,
// which takes a second if the command has written the file itself.
const inForceIn = 15 * time.Second

// untilInForce waits until the server, if it runs, lets in whom the registry lets in after this change.
func (o *office) untilInForce(ctx context.Context, r registrar.Changes, c control.Change) error {
	socket := config.ServerSocket
	if o.server != nil {
		socket = o.server.StatusSocket
	}
	if socket == "" || !o.runs && o.server == nil {
		return nil
	}
	late := app.Hint(errors.New("this is written, but the server that runs does not act upon it"),
		"Its log says why: journalctl -u 'stepvpn-server*'. 'stepvpn check' says what is wrong.")
	ctx, cancel := context.WithTimeoutCause(ctx, inForceIn, late)
	defer cancel()
	return control.AwaitRegistry(ctx, socket, func(now string) bool {
		if now == "" || now == c.Registry {
			return true
		}
		// Others may have made further changes, which are in force, too.
		latest, err := r.Digest()
		return err == nil && latest == now
	})
}
