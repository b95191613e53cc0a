package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"stepvpn/shared/app"
	"stepvpn/step6-dns/push"
	"stepvpn/step8-deploy/further/wireguard/conf"
)

// This file is about clients that speak the WireGuard protocol: what the file that they name by
// wireguard says becomes settings, so that the rest of the program finds them where it finds those
// for our own protocol.

// isWireGuard reports whether a text is not settings of ours, but a file in the form of the
// WireGuard protocol's own programs. Settings of ours have a line kind, and no sections.
func isWireGuard(file string, text []byte) bool {
	for line := range strings.Lines(strings.ToLower(string(text))) {
		line = strings.TrimSpace(line)
		switch name, _, _ := strings.Cut(line, "="); {
		case line == "" || line[0] == '#':
		case strings.HasPrefix(line, "[interface]"), strings.HasPrefix(line, "[peer]"):
			return true
		case strings.TrimSpace(name) == "kind":
			return false
		}
	}
	return filepath.Ext(file) == ".conf"
}

// readWireGuard reads the file that the setting wireguard names, if there is one. d is the
// document that has it.
func (c *Client) readWireGuard(d *document) (err error) {
	if c.WireGuardFile == "" {
		return nil
	}
	if c.WireGuard, err = conf.Load(c.WireGuardFile); err != nil {
		return err
	}
	for _, p := range c.WireGuard.Peers {
		at, err := readEndpoint(p.Endpoint)
		if err != nil {
			return fmt.Errorf("%s: Endpoint %w", c.WireGuardFile, err)
		}
		c.Servers = append(c.Servers, at)
	}
	c.Transport = "udp"
	c.MTU = cmp.Or(c.WireGuard.MTU, conf.MTU)
	allowed := allowedRoutes(c.WireGuard)
	if _, given := d.values["routes"]; !given || c.Routes.Pushed {
		c.Routes = allowed
	}
	if !allowed.Everything {
		for i, r := range c.Routes.Prefixes {
			if !slices.ContainsFunc(allowed.Prefixes, r.Overlaps) {
				d.addTo("routes", i, fmt.Sprintf("routes has %v, but no peer in %s has it in its AllowedIPs", r, filepath.Base(c.WireGuardFile)), "networks in AllowedIPs")
			}
		}
	}
	if err := d.failed(); err != nil || !c.DNS {
		return err
	}
	return checkResolvers(c.WireGuard, c.WireGuardFile)
}

// checkResolvers returns an error if the file names resolvers, and no peer has any of them in its
// AllowedIPs: names are asked through the tunnel, and there nobody would answer. ('stepvpn check'
// warns of a single one.)
func checkResolvers(f *conf.File, name string) error {
	asked := f.DNS[:min(len(f.DNS), push.MaxDNS)]
	in := func(a netip.Addr) bool {
		return slices.ContainsFunc(f.Networks(), func(n netip.Prefix) bool { return n.Contains(a) })
	}
	if len(asked) == 0 || slices.ContainsFunc(asked, in) {
		return nil
	}
	return app.Hint(fmt.Errorf("%s: DNS has %v, which no peer has in its AllowedIPs, so that no name can be looked up", name, asked[0]),
		"Add it to the AllowedIPs of the peer that leads there, or remove it: without a resolver in the file, names are looked up as without the tunnel, unless everything goes into it.")
}

// allowedRoutes returns what the peers' AllowedIPs send into the tunnel. If that is one of the two
// families as a whole, it is everything: the other one must not leave in the clear, either.
func allowedRoutes(f *conf.File) Routes {
	if f.Everything() {
		return Routes{Everything: true}
	}
	return Routes{Prefixes: f.Networks()}
}
