package route

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/shared/app"
	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
)

// check refuses what would fail half-way.
func (c *Config) check() error {
	if err := hostnet.MayChange(); err != nil {
		return err
	}
	if c.Network != "" && protocols[c.Network] == 0 {
		return fmt.Errorf("network %q is neither udp nor tcp", c.Network)
	}
	if !c.Server.IsValid() || c.Server.Addr().IsUnspecified() {
		return fmt.Errorf("%v is not the address of a server", c.Server)
	}
	if len(c.Addrs) == 0 {
		return app.Hint(errors.New("the tunnel has no address"), "Give this end one with -addr.")
	}
	if _, err := linkOf(c.Device); err != nil {
		return err
	}
	return hostnet.Free(c.Addrs, c.Device)
}

func linkOf(device string) (netlink.Link, error) {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return nil, fmt.Errorf("tunnel device %q: %w", device, err)
	}
	return link, nil
}

// CheckWay looks for the way to the server, which must not be the tunnel.
func CheckWay(device string, server netip.Addr) error {
	tunnel, err := linkOf(device)
	if err != nil {
		return err
	}
	way, err := netlink.RouteGetWithOptions(net.IP(server.AsSlice()), &netlink.RouteGetOptions{Mark: FwMark, Oif: server.Zone()})
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		return app.Hint(fmt.Errorf("there is no way to the server %v: this host has no default %v route", server, hostnet.FamilyOf(server)),
			"Connect the host to a network first: '%s route' must show a default route.", policy.IP(hostnet.FamilyOf(server)))
	case err != nil:
		return fmt.Errorf("looking for the way to the server %v: %w", server, err)
	}
	for _, r := range way {
		if r.LinkIndex == tunnel.Attrs().Index {
			return app.Hint(fmt.Errorf("the way to the server %v leads into the tunnel %s itself", server, device),
				"The server's own address belongs into -server, not one inside the tunnel.")
		}
	}
	return nil
}

// removeStale removes what a killed client left, and refuses to go on if our
// table, mark or priorities are somebody else's. A client that runs has a route
// in the table: it lives and dies with the client's device. device is our own; it
// may have outlived a client.
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
			if r.Priority <= PriorityTunnel { // those behind are of other packages
				stale = append(stale, r)
			}
		}
	}
	return policy.Remove(stale)
}

// clashes reports whether a rule has anything that is meant for ours alone.
func clashes(r netlink.Rule) bool {
	return r.Priority >= PriorityFirst && r.Priority <= PriorityTunnel || r.Mark == FwMark || r.Table == Table
}

// checkTable returns an error if the table has a route. One that we made
// through our own device, which outlived the client, is removed.
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
