package names

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step6-dns/resolvconf"
	"stepvpn/step8-deploy/privsep"
)

// This file lets a process of its own write resolv.conf. Serve is that process's end, and a
// Remote is the end of the process that asks.

// Serve does what a process without the right to write to /etc asks for, until that process is
// gone; then Serve puts back what it has done. The operator sets state, the folder of the
// journals, and Serve refuses any other.
func Serve(c *privsep.Conn, k Keeper, state string) (err error) {
	defer func() { err = errors.Join(err, k.PutBack(resolvconf.Config{State: state})) }()
	read := func(parse func(any) error) (c resolvconf.Config, err error) {
		var q request
		if err := parse(&q); err != nil {
			return c, err
		}
		if q.State != state {
			return c, app.Hint(fmt.Errorf("the client keeps its state in %.200q, but 'stepvpn names' keeps it in %q", q.State, state),
				"Give 'stepvpn names' the same folder, by -state.")
		}
		return resolvconf.Config{Device: q.Device, DNS: q.DNS, Search: q.Search, State: state}, nil
	}
	return privsep.Serve(c, map[string]privsep.Handler{
		"keep": func(parse func(any) error) (r privsep.Result, err error) {
			c, err := read(parse)
			if err != nil {
				return r, err
			}
			by, err := k.Keep(c)
			return privsep.Result{With: by}, err
		},
		"put back": func(parse func(any) error) (r privsep.Result, err error) {
			c, err := read(parse)
			if err != nil {
				return r, err
			}
			return r, k.PutBack(c)
		},
	})
}

// A Remote is a Keeper that has another process, which listens at a socket, do the work. It
// waits for that process if it is not there yet, or is being restarted.
type Remote struct {
	socket string
	mu     sync.Mutex     // one request at a time
	asker  *privsep.Asker // nil if none is connected
}

// A request is the argument of a request from a process that may not write to /etc. State
// makes sure that both use the same journal.
type request struct {
	Device string       `json:"device,omitempty"`
	DNS    []netip.Addr `json:"dns,omitempty"`
	Search []string     `json:"search,omitempty"`
	State  string       `json:"state"`
}

// NewRemote returns a Remote, which connects at its first request.
func NewRemote(socket string) *Remote { return &Remote{socket: socket} }

func (r *Remote) Keep(c resolvconf.Config) (by string, err error) {
	err = r.ask("keep", request{c.Device, c.DNS, c.Search, c.State}, &by)
	return by, err
}

func (r *Remote) PutBack(c resolvconf.Config) error {
	return r.ask("put back", request{State: c.State}, nil)
}

const (
	waitFor = 2 * time.Second // how long to wait for the other process
	limit   = time.Minute     // how long one request may take
)

func (r *Remote) ask(do string, q request, answer any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.connect(); err != nil {
		return app.Hint(fmt.Errorf("the process that writes resolv.conf is not running: %w", err), "See 'systemctl status stepvpn-names'.")
	}
	defer time.AfterFunc(limit, func() { r.asker.Close() }).Stop()
	_, err := r.asker.Ask(do, q, answer)
	return err
}

// connect connects to the other process, unless it is connected.
func (r *Remote) connect() error {
	if r.asker != nil {
		select {
		case <-r.asker.Gone():
		default:
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), waitFor)
	defer cancel()
	conn, err := privsep.Dial(ctx, r.socket)
	if err == nil {
		r.asker = privsep.NewAsker(conn, func(string, json.RawMessage) {})
	}
	return err
}
