package takeover

import (
	"log/slog"
	"slices"

	"stepvpn/step8-deploy/lan"
)

// local is the host's local network, as far as it is believed in.
type local struct {
	lan.Networks
	around []lan.Claim     // networks with a route of their own, whatever counts as local
	told   map[string]bool // claims that the log has
}

// maxTold bounds how many claims are told of. A network can make up any number.
const maxTold = 100

// look finds out what is local by now.
func (h *Host) look() error {
	l := &h.lan
	n, err := lan.Look(h.cfg.LAN, h.cfg.Device)
	if err != nil {
		return err
	}
	l.Networks = n
	l.around = n.Local
	if !h.cfg.Routes.Everything { // nothing in a list is local, and the rest need not be
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
