package registrar

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"strings"

	"stepvpn/shared/app"
	"stepvpn/shared/atomicfile"
	"stepvpn/step8-deploy/control"
)

// This file is the API for changes. (CONTROL.md describes the requests.)

// A Service carries out the requests at the socket for changes.
type Service struct {
	*Registrar
	Version string              // of the program
	Audit   *control.Audit      // notes each change, and each attempt
	Changed func(control.Event) // called when something has been changed; the answer is sent afterwards
}

// Routes returns all requests.
func (s Service) Routes() []control.Route {
	return []control.Route{
		{Pattern: "GET /server", Do: func(*control.Request) (any, error) {
			digest, err := s.Digest()
			return control.About{Registry: s.Files.Registry, Digest: digest, Version: s.Version, WireGuard: s.Settings.WireGuard}, err
		}},
		{Pattern: "GET /clients/{name}", Do: func(r *control.Request) (any, error) {
			c, err := s.Look(r.Name)
			return c, classed(err)
		}},
		s.Audit.Route(),
		s.Audit.Change("POST /clients", "added", s.Changed, s.add),
		s.change("revoke", "revoked", func(r *control.Request) (control.Change, string, error) {
			c, err := s.Revoke(r.Name)
			return c, "", err
		}),
		change(s, "expire", "expires", func(name string, w control.When) (control.Change, string, error) {
			c, err := s.Expire(name, w.Expires)
			return c, w.Expires, err
		}),
		change(s, "rename", "renamed", func(name string, to control.To) (control.Change, string, error) {
			c, err := s.Rename(name, to.Name)
			return c, to.Name, err
		}),
		change(s, "limit", "limited", func(name string, l control.Limit) (control.Change, string, error) {
			c, err := s.Limit(name, l)
			return c, limitDetail(l), err
		}),
		change(s, "password", "password", func(name string, p control.Password) (control.Change, string, error) {
			c, err := s.SetPassword(name, p.Hash)
			if p.Hash == "" {
				return c, "none", err
			}
			return c, "set", err
		}),
	}
}

func (s Service) add(r *control.Request) (c control.Change, client, detail string, err error) {
	var q control.AddRequest
	if err := r.Parse(&q); err != nil {
		return c, "", "", err
	}
	var file string
	c, err = s.Add(q, func(text string) error {
		file = text
		return context.Cause(r.Context) // if the user has left, nobody would have the file
	})
	c.File, c.Settings = file, !q.WireGuard
	return c, q.Name, "", classed(err)
}

// change is the route of a verb with an argument.
func change[Arg any](s Service, path, verb string, do func(name string, arg Arg) (c control.Change, detail string, err error)) control.Route {
	return s.change(path, verb, func(r *control.Request) (c control.Change, detail string, err error) {
		var arg Arg
		if err := r.Parse(&arg); err != nil {
			return c, "", err
		}
		return do(r.Name, arg)
	})
}

// change is the route of a verb.
func (s Service) change(path, verb string, do func(*control.Request) (c control.Change, detail string, err error)) control.Route {
	return s.Audit.Change("POST /clients/{name}/"+path, verb, s.Changed, func(r *control.Request) (control.Change, string, string, error) {
		c, detail, err := do(r)
		return c, r.Name, detail, classed(err)
	})
}

// classed gives an error the status that it has in HTTP.
func classed(err error) error {
	_, path := errors.AsType[*fs.PathError](err)
	_, link := errors.AsType[*os.LinkError](err)
	_, call := errors.AsType[*os.SyscallError](err)
	_, missing := errors.AsType[notFound](err)
	switch {
	case err == nil || control.IsRefusal(err):
		return err
	case app.IsUsage(err):
		// "-expires: ..." is about the flag or the field of that name.
		field, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "-"), " ")
		if strings.HasPrefix(err.Error(), "-") {
			return control.RefuseField(strings.ReplaceAll(strings.TrimSuffix(field, ":"), "-", "_"), err)
		}
		return control.Refuse(http.StatusBadRequest, err)
	case missing:
		return control.Refuse(http.StatusNotFound, err)
	case errors.Is(err, atomicfile.ErrLocked):
		return control.Refuse(http.StatusServiceUnavailable, err)
	case path || link || call:
		return err
	}
	return control.Refuse(http.StatusConflict, err)
}
