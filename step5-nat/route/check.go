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

// This file has what Default asks before it changes anything.

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
