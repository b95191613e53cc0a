package takeover

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"stepvpn/shared/app"
	"stepvpn/step2-tun/packet"
	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/guard"
	"stepvpn/step6-dns/nft"
	"stepvpn/step6-dns/resolvconf"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/killswitch"
	"stepvpn/step8-deploy/lan"
	"stepvpn/step8-deploy/pathmtu"
	"stepvpn/step8-deploy/reconcile"
)

// A desired is the state in which a client's host should be. Fields are added from the first
// to the last, and removed from the last to the first: what closes the host comes first, and
// goes last.
type desired struct {
	live   *killswitch.Switch // nil for none
	tables []reconcile.Table
	device *reconcile.Device // nil for none
	routes []netip.Prefix
	rules  []policy.Rule
	names  *resolvconf.Config // nil: the host's own resolvers
}

// Our policy rules have priorities from that of a guard.Socket to the last of the kill
// switch. Rules that take precedence over the local network come right before its rules.
const (
	priorityFirst  = route.PriorityFirst - 1
	priorityTunnel = route.PriorityLocal - 1
)

type tableNames = []nft.Table

// desired returns the state in which the host should be now. h.mu is locked.
func (h *Host) desired() (w desired) {
	for _, s := range h.sockets {
		w.rules = append(w.rules, s.rule)
	}
	if h.taken != nil {
		t := h.taken.usable()
		device := t.device()
		w.device = &device
		w.routes = t.routes()
		w.tables = t.tables()
		w.rules = append(w.rules, t.rules(h.lan.Networks)...)
		if dns := t.terms.Settings.DNS; t.cfg.DNS && len(dns) > 0 {
			w.names = &resolvconf.Config{Device: device.Name, DNS: t.reachable(dns), Search: t.terms.Settings.Search, State: t.cfg.State}
		}
	}
	if h.underlay != nil {
		w.tables = append(w.tables, h.underlay.table(h.cfg.Device))
	}
	if h.kill != nil {
		w.live = &killswitch.Switch{Config: *h.kill, Local: h.lan.Networks, Paused: h.mending.paused}
		w.tables = append(w.tables, w.live.Table())
		w.rules = append(w.rules, w.live.Rules()...)
	}
	return w
}

// check returns an error for terms that can't be carried out. (It is no error if a network
// of this host overlaps the tunnel's.)
func (t *taken) check() error {
	if len(t.terms.Addrs) == 0 {
		return errors.New("the tunnel has no address")
	}
	if len(t.usable().terms.Addrs) == 0 {
		return app.Hint(errors.New("the tunnel carries only IPv6, which is switched off on this host"), switchOn)
	}
	for _, f := range hostnet.Families {
		if only := f.Subnets(t.only); len(only) > 0 && !t.carries(f) {
			return fmt.Errorf("%v is to go into the tunnel, which carries no %v", only[0], f)
		}
	}
	if _, err := t.guardRules(); err != nil {
		return err
	}
	return hostnet.Disjoint(t.terms.Addrs)
}

// carries reports whether the tunnel carries this family.
func (t *taken) carries(f hostnet.Family) bool { return len(f.Subnets(t.terms.Addrs)) > 0 }

// device returns the tunnel's device as it should be. IPv6 needs an MTU of at least 1280,
// even if the path carries less. Then longer packets travel in fragments; TCP avoids them.
func (t *taken) device() reconcile.Device {
	d := reconcile.Device{Name: t.cfg.Device, Addrs: t.terms.Addrs, MTU: t.terms.MTU}
	if t.cfg.MTU == 0 && t.carries(hostnet.V6) { // an MTU that the operator has set stays
		d.MTU = max(d.MTU, packet.MinIPv6MTU) // below it, the device loses its addresses
	}
	return d
}

// into returns the networks of a family that go into the tunnel.
func (t *taken) into(f hostnet.Family) []netip.Prefix {
	if t.only == nil {
		return []netip.Prefix{policy.Everything(f)}
	}
	return f.Subnets(t.only)
}

// routes returns the routes into the device, including those to the tunnel's own networks,
// which take precedence over the local network's.
func (t *taken) routes() (list []netip.Prefix) {
	for _, f := range hostnet.Families {
		if !t.carries(f) {
			continue
		}
		list = append(list, t.into(f)...)
		if t.only != nil {
			list = append(list, f.Subnets(t.terms.Addrs)...)
		}
	}
	return list
}

// rules returns the rules that send packets into the tunnel, except for local ones. Packets
// of a family that the tunnel does not carry are refused.
func (t *taken) rules(around lan.Networks) (list []policy.Rule) {
	list, _ = t.guardRules()
	for _, f := range hostnet.Families {
		list = append(list, guard.Own(f, priorityTunnel))
		for _, n := range f.Subnets(t.terms.Addrs) {
			r := policy.NewRule(f, priorityTunnel, route.Table, fmt.Sprintf("to %v lookup %d", n, route.Table))
			r.To(n)
			list = append(list, r)
		}
		table := route.Table
		if !t.carries(f) {
			table = 0
		}
		list = append(list, t.cfg.LAN.Rules(f, route.PriorityLocal, table, t.only, around)...)
		if len(t.into(f)) > 0 {
			list = append(list, route.Tunnel(f, t.carries(f)))
		}
	}
	return list
}

// tables returns the tables of nft that the tunnel needs.
func (t *taken) tables() []reconcile.Table {
	d := t.device()
	list := []reconcile.Table{
		{Name: lan.OurTable, Text: lan.Ruleset(d.Name, d.Addrs, guarded(t.cfg))},
		{Name: pathmtu.OurTable, Text: pathmtu.Ruleset(d.Name, t.terms.MTU)},
	}
	if guarded(t.cfg) {
		list = append(list, reconcile.Table{Name: guard.Table, Text: t.guardTable(d.Name)})
	}
	return list
}

// routes returns what goes into the tunnel, nil for everything, and whether that
// is known.
func routes(cfg *config.Client, pushed []netip.Prefix) (only []netip.Prefix, known bool) {
	switch r := cfg.Routes; {
	case r.Everything:
		return nil, true
	case r.Pushed:
		return pushed, len(pushed) > 0
	default:
		return r.Prefixes, true
	}
}

// withResolvers adds the tunnel's resolvers to the networks that go through it: queries go
// there, whatever else does. nil stands for everything. It leaves out resolvers of a family
// that the tunnel does not carry.
func withResolvers(only, addrs []netip.Prefix, resolvers []netip.Addr) []netip.Prefix {
	if only == nil {
		return nil
	}
	only = slices.Clone(only)
	for _, r := range resolvers {
		if len(hostnet.FamilyOf(r).Subnets(addrs)) > 0 {
			only = append(only, policy.Host(r))
		}
	}
	return only
}

// guarded reports whether programs may ask only the tunnel's resolvers, or, if none is named, only
// through the tunnel.
func guarded(cfg *config.Client) bool { return cfg.DNS && !cfg.AllowOtherDNS && !asBefore(cfg) }

// switchOf returns the Config of the kill switch that the settings ask for.
func switchOf(cfg *config.Client, only, tunnel []netip.Prefix) killswitch.Config {
	c := killswitch.Config{Device: cfg.Device, Only: only, Names: guarded(cfg), LAN: cfg.LAN}
	for _, n := range tunnel {
		c.Tunnel = append(c.Tunnel, n.Masked())
	}
	return c
}
