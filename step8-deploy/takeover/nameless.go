package takeover

import (
	"cmp"
	"log/slog"

	"stepvpn/shared/app"
	"stepvpn/step6-dns/resolvconf"
)

// nameless is why programs can't be told to ask the tunnel's resolvers, as where
// resolv.conf is immutable or the disk is full. It is no reason to stay without a tunnel:
// what goes by address works, and what asks somebody else for names is still refused.
type nameless struct {
	reason, cure string
	tries        int // in a row
}

// soonTries is how often it is tried every tryEvery; after that it is when the host is
// looked at anyway (see lookEvery).
const soonTries = 10

// told notes the outcome of a try, and tells whether the next one is soon. The log has
// each reason once.
func (n *nameless) told(err error) (soon bool) {
	if err == nil {
		*n = nameless{}
		return false
	}
	before := n.reason
	n.reason = "programs are not told to ask the tunnel's resolvers: " + err.Error()
	n.cure = cmp.Or(app.HintOf(err), "When "+resolvconf.DefaultPath+" can be written it is done by itself.")
	n.tries++
	if n.reason != before {
		slog.Warn("names are not found: "+resolvconf.DefaultPath+" is not as it should be", "error", err, "cure", n.cure)
	}
	return n.tries < soonTries
}
