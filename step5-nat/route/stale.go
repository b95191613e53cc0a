package route

import (
	"fmt"

	"github.com/vishvananda/netlink"

	"stepvpn/shared/app"
	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
)

// This file removes what a killed client left. The kernel stores policy.MadeBy with each of
// our routes and rules, so they can be told from those of other programs.

// removeStale removes the routes and rules that a killed client left. It returns an error
// if another program uses our table, mark or priorities, or if another client is running:
// a running client has a route in the table, which vanishes with the client's device.
// device is our own, which may have outlived an earlier client.
func removeStale(device string) error {
	var stale []netlink.Rule
	for _, f := range hostnet.Families {
		if f.Off() {
			continue
		}
		if err := checkTable(f, device); err != nil {
			return err
		}
		ours, foreign, err := policy.Rules(f, clashes)
		if err != nil {
			return err
		}
		if foreign != nil {
			return app.Hint(fmt.Errorf("another program has an %v rule that clashes with ours, at priority %d", f, foreign.Priority),
				"See '%s rule': priorities %d to %d, mark %d and table %d must be free.",
				policy.IP(f), PriorityFirst, PriorityTunnel, FwMark, Table)
		}
		for _, r := range ours {
			if r.Priority <= PriorityTunnel { // other packages have made the later ones
				stale = append(stale, r)
			}
		}
	}
	return policy.Remove(stale)
}

// clashes reports whether a rule has a priority, mark or table that is reserved for ours.
func clashes(r netlink.Rule) bool {
	return r.Priority >= PriorityFirst && r.Priority <= PriorityTunnel || r.Mark == FwMark || r.Table == Table
}

// checkTable returns an error if the table has a route. It first removes a route of an
// earlier client through our own device, if the device has outlived that client.
func checkTable(f hostnet.Family, device string) error {
	routes, err := hostnet.Routes(f, Table)
	if err != nil {
		return err
	}
	for _, r := range routes {
		name := "?"
		if link, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
			name = link.Attrs().Name
		}
		switch {
		case r.Protocol != policy.MadeBy:
			return app.Hint(fmt.Errorf("routing table %d is in use by another program", Table),
				"See '%s route show table %d', and stop that program.", policy.IP(f), Table)
		case name != device:
			return app.Hint(fmt.Errorf("another client runs on this host: it sends everything into %s", name),
				"Stop it first. A host has one default route.")
		}
		if err := policy.RemoveRoute(r); err != nil {
			return fmt.Errorf("removing the old route into %s: %w", device, err)
		}
	}
	return nil
}
