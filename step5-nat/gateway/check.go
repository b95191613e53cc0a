package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"stepvpn/shared/app"
	"stepvpn/step5-nat/hostnet"
)

// This file has what Enable asks before it changes anything: by which interfaces clients'
// packets leave, whether the Config can work, and which firewalls it needs.

// plan returns the firewalls that Enable must build: one for each address family that the
// host has. It changes nothing.
func (c *Config) plan(egress map[hostnet.Family][]string) (firewalls []*firewall, err error) {
	for _, f := range hostnet.Families {
		if f.Off() {
			continue
		}
		w := &firewall{family: f, device: c.Device, subnets: f.Subnets(c.Addrs), egress: egress[f]}
		switch err := w.open(); {
		case err == nil:
			firewalls = append(firewalls, w)
		case w.serves():
			return nil, err
		default: // this firewall would only have dropped packets
			slog.Warn(fmt.Sprintf("%v packets from the tunnel are not checked: %v", f, err))
		}
	}
	return firewalls, nil
}

// ways finds the interfaces by which clients' packets leave. It returns an error if there
// are none.
func (c *Config) ways() (egress map[hostnet.Family][]string, err error) {
	egress = make(map[hostnet.Family][]string)
	for _, f := range hostnet.Families {
		names := []string{c.Egress}
		if c.Egress == "" {
			if names, err = hostnet.DefaultRoutes(f, c.Device); err != nil {
				return nil, err
			}
		}
		if len(f.Subnets(c.Addrs)) > 0 && len(names) > 0 {
			egress[f] = names
		}
	}
	if len(egress) == 0 && len(c.Addrs) > 0 {
		return nil, app.Hint(errors.New("this host has no default route, so clients have no way out"),
			"Connect the host to a network first, or name the interface to leave by with -egress.")
	}
	return egress, nil
}

// check refuses what cannot work.
func (c *Config) check() error {
	if err := hostnet.MayChange(); err != nil {
		return err
	}
	if err := known(c.Device); err != nil {
		return fmt.Errorf("tunnel device: %w", err)
	}
	if err := known(c.Egress); err != nil && c.Egress != "" {
		return app.Hint(fmt.Errorf("egress: %w", err),
			"'ip link' lists the interfaces. Without -egress it is that of the default route.")
	}
	if c.Egress == c.Device {
		return app.Hint(fmt.Errorf("egress %s is the tunnel itself", c.Egress),
			"Name the interface by which this host reaches the internet.")
	}
	if len(c.Addrs) == 0 {
		return app.Hint(errors.New("the tunnel has no address"), "Give this end one with -addr.")
	}
	for _, a := range c.Addrs {
		if !a.Masked().Addr().IsGlobalUnicast() {
			return app.Hint(fmt.Errorf("the tunnel's subnet %v cannot be forwarded", a.Masked()),
				"Choose a private one, such as 10.8.0.0/24 or fd00:8::/64.")
		}
	}
	return hostnet.Free(c.Addrs, c.Device)
}

// known returns an error unless there is an interface of that name. To iptables
// "eth+" is every name that starts with "eth", so a "+" there is refused.
func known(name string) error {
	if strings.HasSuffix(name, "+") {
		return fmt.Errorf("interface name %q ends in +, which is a pattern to iptables", name)
	}
	if _, err := net.InterfaceByName(name); err != nil {
		return fmt.Errorf("there is no interface %q on this host", name)
	}
	return nil
}
