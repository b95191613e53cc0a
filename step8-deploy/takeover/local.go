package takeover

import (
	"log/slog"
	"slices"

	"stepvpn/step8-deploy/lan"
)

// local is what is known about the host's local networks, whose traffic stays outside of the
// tunnel. (Package lan decides what counts as local.)
type local struct {
	lan.Networks
	around []lan.Claim     // networks with a route of their own, local or not
	told   map[string]bool // claims that were logged
}

// maxTold is the largest number of claims that are logged: a network can make up any number.
const maxTold = 100

// look finds out which networks are local now.
func (h *Host) look() error {
	l := &h.lan
	n, err := lan.Look(h.cfg.LAN, h.cfg.Device)
	if err != nil {
		return err
	}
	l.Networks = n
	l.around = n.Local
	if !h.cfg.Routes.Everything { // networks in the list never count as local, and the rest stays outside of the tunnel anyway
		l.around = slices.Concat(n.Local, n.Claims, n.Inside)
		l.Networks = lan.Networks{}
	}
	for _, c := range slices.Concat(l.Claims, l.Inside) {
		if l.told == nil {
			l.told = make(map[string]bool)
		}
		if text := c.String(); !l.told[text] && len(l.told) < maxTold {
			l.told[text] = true
			slog.Info("a network that does not count as local goes into the tunnel", "network", text)
		}
	}
	return nil
}
