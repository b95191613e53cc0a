package keeper

import (
	"errors"
	"strings"

	"stepvpn/step8-deploy/notify"
	"stepvpn/step8-deploy/privsep"
)

// A Notice is what systemd is to be told about a worker. The keeper forwards it, as people
// look at the keeper's unit.
type Notice struct {
	Ready  bool // clients are served; or, of a client, packets pass
	Status string
}

// maxStatus is the largest length of a status, in bytes.
const maxStatus = 1 << 10

// In the keeper: notice handles what forward asks for. tell is told what a worker says.
func notice(tell func(Notice)) privsep.Handler {
	return func(parse func(any) error) (r privsep.Result, err error) {
		var n Notice
		if err := parse(&n); err != nil {
			return r, err
		}
		if len(n.Status) > maxStatus {
			return r, errors.New("the status is too long")
		}
		tell(n)
		return r, nil
	}
}

// notice tells systemd how a client's worker is.
func (k *Client) notice(n Notice) {
	notify.Status(n.Status)
	if n.Ready {
		k.Ready()
	}
}

// Ready tells systemd that the client has started, the first time that it is called.
func (k *Client) Ready() { k.started.Do(func() { notify.Ready("") }) }

// tell is called in both processes: it tells systemd about the unit of this one.
func (n Notice) tell() {
	if n.Ready {
		notify.Ready(n.Status)
	} else {
		notify.Status(n.Status)
	}
}

// In the worker, from here on:

// clip cuts a text to a number of bytes, but never within a character: JSON would replace
// its part by a longer character.
func clip(text string, most int) string {
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}

// forward makes the keeper tell systemd, and tells systemd about this process's own unit, if
// it has one.
func forward(a *privsep.Asker, n Notice) {
	n.tell()
	n.Status = clip(n.Status, maxStatus)
	a.Ask("notify", n, nil) // an error does not matter: this is only for people
}

// Notify tells systemd how the worker is, by way of the keeper.
func (r *Remote) Notify(n Notice) { forward(r.Asker, n) }

// Notify tells systemd how the worker is, by way of the keeper.
func (r *RemoteServer) Notify(n Notice) { forward(r.Asker, n) }
