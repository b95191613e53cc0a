package takeover

import (
	"cmp"
	"log/slog"

	"stepvpn/shared/app"
	"stepvpn/step6-dns/resolvconf"
)

// namesFailed is the reason why programs can't be told to ask the tunnel's resolvers, such as
// an immutable resolv.conf or a full disk. The tunnel is still of use: connections to an
// address work, and queries to other resolvers are still refused.
type namesFailed struct {
	reason, cure string
	tries        int // failed tries in a row
}

// soonTries is how many tries are made every tryEvery. After that, it is tried again
// whenever the host is looked at anyway (see lookEvery).
const soonTries = 10

// told records the outcome of a try, and reports whether the next try is due soon. It logs
// each reason once.
func (n *namesFailed) told(err error) (soon bool) {
	if err == nil {
		*n = namesFailed{}
		return false
	}
	before := n.reason
	n.reason = "programs are not told to ask the tunnel's resolvers: " + err.Error()
	n.cure = cmp.Or(app.HintOf(err), "This is done automatically once "+resolvconf.DefaultPath+" can be written.")
	n.tries++
	if n.reason != before {
		slog.Warn("names are not found: "+resolvconf.DefaultPath+" is not as it should be", "error", err, "cure", n.cure)
	}
	return n.tries < soonTries
}
