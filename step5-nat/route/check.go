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

// check refuses a Config that would fail half-way.
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

// CheckWay returns an error if there is no route to the server, or if it leads into the
// tunnel. Step 8 asks that again when the server has another address.
func CheckWay(device string, server netip.Addr) error {
	tunnel, err := linkOf(device)
	if err != nil {
		return err
	}
	way, err := netlink.RouteGetWithOptions(net.IP(server.AsSlice()), &netlink.RouteGetOptions{Mark: FwMark, Oif: server.Zone()})
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		return app.Hint(fmt.Errorf("there is no route to the server %v: this host has no default %v route", server, hostnet.FamilyOf(server)),
			"Connect the host to a network first: '%s route' must show a default route.", policy.IP(hostnet.FamilyOf(server)))
	case err != nil:
		return fmt.Errorf("looking for the route to the server %v: %w", server, err)
	}
	for _, r := range way {
		if r.LinkIndex == tunnel.Attrs().Index {
			return app.Hint(fmt.Errorf("the route to the server %v leads into the tunnel %s itself", server, device),
				"Set -server to the server's own address, not one inside the tunnel.")
		}
	}
	return nil
}

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
