package keeper

import (
	"errors"
	"strings"

	"stepvpn/step8-deploy/notify"
	"stepvpn/step8-deploy/privsep"
)

// A Notice is what systemd is to be told of a worker: the unit that people look at is the
// keeper's.
type Notice struct {
	Ready  bool
	Status string
}

// maxStatus bounds it, in bytes.
const maxStatus = 1 << 10

func notice(parse func(any) error) (r privsep.Result, err error) {
	var n Notice
	if err := parse(&n); err != nil {
		return r, err
	}
	if len(n.Status) > maxStatus {
		return r, errors.New("a status that is too long")
	}
	n.tell()
	return r, nil
}

func (n Notice) tell() {
	if n.Ready {
		notify.Ready(n.Status)
	} else {
		notify.Status(n.Status)
	}
}

// clip cuts a text to a number of bytes, and not within a character: that would become a
// longer one on its way.
func clip(text string, most int) string {
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}

// forward has the keeper tell systemd, and tells this process's own unit, if it has one.
func forward(a *privsep.Asker, n Notice) {
	n.tell()
	n.Status = clip(n.Status, maxStatus)
	a.Ask("notify", n, nil) // who is not told does without
}

// Notify tells systemd how it stands.
func (r *Remote) Notify(n Notice) { forward(r.Asker, n) }

// Notify tells systemd how it stands.
func (r *RemoteServer) Notify(n Notice) { forward(r.Asker, n) }
