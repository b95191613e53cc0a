package takeover

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step8-deploy/lan"
)

// maxNotes is the largest number of notes: the number of routes and bridges is not ours to
// limit.
const maxNotes = 32

// notes lists traffic of this host that does not go as its user may expect, in a sentence
// each. None of it is an error. h.mu is locked.
func (h *Host) notes() (list []string) {
	if t := h.taken; t != nil {
		if t.carries(hostnet.V6) && noIPv6(t.cfg.Device) {
			list = append(list, "IPv6 is switched off on this host, so the tunnel carries IPv4 only. "+switchOn)
		}
		for _, c := range h.lan.around {
			list = append(list, hidden(c, t.terms.Addrs)...)
		}
		list = append(list, before(t.cfg.Device, h.kill != nil)...)
	}
	list = append(list, bridged(h.kill != nil && !h.mending.paused)...)
	return list[:min(len(list), maxNotes)]
}

// hidden says which of the tunnel's networks hide a part of a network around this host.
func hidden(c lan.Claim, tunnel []netip.Prefix) (list []string) {
	for _, n := range tunnel {
		n = n.Masked()
		if !n.Overlaps(c.Network) {
			continue
		}
		part := n
		if c.Network.Bits() > n.Bits() {
			part = c.Network
		}
		list = append(list, fmt.Sprintf("%v of the network %v on %s is hidden by the tunnel's network %v: nobody there can be reached. "+
			"Another subnet in the server's settings ends that", part, c.Network, c.Device, n))
	}
	return list
}

// note logs each note once.
func (h *Host) note(notes []string) {
	for _, n := range notes {
		if !slices.Contains(h.noted, n) && len(h.noted) < maxTold {
			h.noted = append(h.noted, n)
			slog.Warn(strings.TrimSuffix(n, "."))
		}
	}
}
