package takeover

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/guard"
	"stepvpn/step8-deploy/keep"
	"stepvpn/step8-deploy/lan"
)

// What beats the local network comes right before it.
const priorityTunnel = route.PriorityLocal - 1

// local is the host's local network, as far as it is believed in.
type local struct {
	lan.Networks
	told map[string]bool // claims that the log has
}

// maxTold bounds how many claims are told of. A network can make up any number.
const maxTold = 100

// settle finds out what is local by now, and has that in force.
func (h *Host) settle() error {
	if err := h.look(); err != nil {
		return err
	}
	if h.kill != nil {
		if err := h.kill.SetLocal(h.lan.Networks); err != nil {
			return err
		}
	}
	if h.dev == nil {
		return nil
	}
	_, err := h.keepLocal()
	return err
}

// look finds out what is local by now.
func (h *Host) look() error {
	l := &h.lan
	n, err := lan.Look(h.cfg.LAN, h.cfg.Device)
	if err != nil {
		return err
	}
	l.Networks = n
	if !h.cfg.Routes.Everything { // nothing in a list is local, and the rest need not be
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

// ownNetworks returns what has the tunnel's own networks go into the tunnel, whatever the
// local network says. The rest of what is local is what localRules says.
func (h *Host) ownNetworks(device string, addrs, only []netip.Prefix) (list []policy.Change) {
	for _, f := range hostnet.Families {
		if f.Off() {
			continue
		}
		list = append(list, guard.Own(f, priorityTunnel).Add())
		for _, n := range f.Subnets(addrs) {
			if only != nil && !slices.Contains(only, n) {
				list = append(list, policy.AddRoute(n, device, route.Table))
			}
			r := policy.NewRule(f, priorityTunnel, route.Table, fmt.Sprintf("to %v lookup %d", n, route.Table))
			r.To(n)
			list = append(list, r.Add())
		}
	}
	return list
}

// localRules are the rules for what is local while something is taken.
func (h *Host) localRules() (list []policy.Rule) {
	if h.dev == nil {
		return nil
	}
	for _, f := range hostnet.Families {
		table := route.Table
		if len(f.Subnets(h.terms.Addrs)) == 0 {
			table = 0 // the tunnel does not carry it
		}
		list = append(list, h.cfg.LAN.Rules(f, route.PriorityLocal, table, h.only, h.lan.Networks)...)
	}
	return list
}

// keepLocal makes the rules for what is local what they should be, and returns how many
// had been missing.
func (h *Host) keepLocal() (missing int, err error) {
	return keep.Rules(route.PriorityLocal, route.PriorityLocal, h.localRules())
}
