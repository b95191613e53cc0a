package registrar

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step8-deploy/control"
)

// Changes is what can be done to a registry: by a Registrar itself, or by the server that runs (At).
type Changes interface {
	Look(name string) (control.Client, error)
	Add(q control.AddRequest, handOut func(file string) error) (control.Change, error)
	Revoke(name string) (control.Change, error)
	Expire(name, when string) (control.Change, error)
	Rename(name, to string) (control.Change, error)
	SetPassword(name, hash string) (control.Change, error)
	Digest() (string, error)
}

// At returns what has changes made by the server at a socket, until ctx ends.
func At(ctx context.Context, socket string) Changes { return remote{ctx, socket} }

type remote struct {
	ctx    context.Context
	socket string
}

// undoIn is how long taking back may take when the caller itself has been told to end.
const undoIn = 10 * time.Second

// Add takes the addition back if handOut fails: the client is then revoked, as nobody has its file.
func (r remote) Add(q control.AddRequest, handOut func(file string) error) (c control.Change, err error) {
	if err := inOurTerms(control.Post(r.ctx, r.socket, "/clients", q, &c)); err != nil {
		return c, err
	}
	if err := handOut(c.File); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), undoIn)
		defer cancel()
		if _, undo := (remote{ctx, r.socket}).Revoke(q.Name); undo != nil {
			err = app.Hint(errors.Join(err, fmt.Errorf("%s was added, and can't be revoked: %w", q.Name, undo)), "Type: stepvpn clients revoke %s", q.Name)
		}
		return c, err
	}
	return c, nil
}

func (r remote) Look(name string) (c control.Client, err error) {
	return c, inOurTerms(control.Get(r.ctx, r.socket, "/clients/"+url.PathEscape(name), &c))
}

func (r remote) Digest() (string, error) {
	var a control.About
	err := control.Get(r.ctx, r.socket, "/server", &a)
	return a.Digest, err
}

func (r remote) post(name, verb string, arg any) (c control.Change, err error) {
	return c, inOurTerms(control.Post(r.ctx, r.socket, control.ClientPath(name, verb), arg, &c))
}

func (r remote) Revoke(name string) (control.Change, error) { return r.post(name, "revoke", nil) }

func (r remote) Expire(name, when string) (control.Change, error) {
	return r.post(name, "expire", control.When{Expires: when})
}

func (r remote) Rename(name, to string) (control.Change, error) {
	return r.post(name, "rename", control.To{Name: to})
}

func (r remote) SetPassword(name, hash string) (control.Change, error) {
	return r.post(name, "password", control.Password{Hash: hash})
}

// inOurTerms makes an error about a request one about the command line, which says the same.
func inOurTerms(err error) error {
	said, is := errors.AsType[control.Refused](err)
	switch {
	case !is || said.Status != http.StatusBadRequest:
		return err
	case said.Field != "":
		return app.Usage("-%w", err)
	}
	return app.Usage("%w", err)
}
