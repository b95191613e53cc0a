package gateway

import (
	"errors"
	"maps"
	"net"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/hostnet"
)

// This file turns packet forwarding on, together with the other settings of Config.Sysctls, and
// restores them all at the end. A host that begins to forward would forget the IPv6 routes that
// it has learned from routers: accept_ra=2 prevents that.

// startForwarding turns forwarding on for the families that are served. If it fails,
// it restores the settings.
func startForwarding(c Config, firewalls []*firewall) (err error) {
	s, err := openState()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.join(c.Device, func(key string) bool { return c.needs(key, firewalls) }); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(c.Sysctls)) {
		if now, err := readSetting(key); err != nil || now == "" {
			continue
		}
		if err := s.set(key, c.Sysctls[key]); err != nil {
			return errors.Join(err, s.leave(c.Device))
		}
	}
	for _, w := range firewalls {
		if !w.serves() {
			continue
		}
		if w.family == hostnet.V4 {
			err = s.set(forward4, "1")
		} else {
			err = forwardIPv6(s, w.egress)
		}
		if err != nil {
			return errors.Join(err, s.leave(c.Device))
		}
	}
	return nil
}

// needs reports whether this gateway needs the setting changed, too.
func (c *Config) needs(key string, firewalls []*firewall) bool {
	_, also := c.Sysctls[key]
	return also || slices.ContainsFunc(firewalls, func(w *firewall) bool {
		inet := "net/ipv4/"
		if w.family == hostnet.V6 {
			inet = "net/ipv6/"
		}
		return w.serves() && strings.HasPrefix(key, inet)
	})
}

// stopForwarding restores the settings, unless another gateway needs them.
func stopForwarding(device string) (err error) {
	s, err := openState()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	return s.leave(device)
}

// forwardIPv6 turns on IPv6 forwarding, which takes more than one setting. A router does
// not take its routes from router advertisements (RFC 4861, section 6.2.8), so a kernel
// that starts to forward forgets the routes that it has learned from them, perhaps
// including its default route. accept_ra=2 keeps it listening, and is set first.
func forwardIPv6(s *state, egress []string) error {
	if now, err := readSetting(forward6); err != nil || now == "1" && !s.changed(forward6) {
		return err // it already forwards, and its owner has chosen whether it listens
	}
	names, err := learners()
	if err != nil {
		return err
	}
	for _, name := range append(names, egress...) {
		now, err := readSetting(acceptRA(name))
		if err != nil {
			return err
		}
		if now == "1" {
			if err := s.set(acceptRA(name), "2"); err != nil {
				return err
			}
		}
	}
	return s.set(forward6, "1")
}

// learners returns the interfaces that have a route from a router advertisement.
func learners() ([]string, error) {
	routes, err := hostnet.Routes(hostnet.V6, unix.RT_TABLE_MAIN)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, r := range routes {
		if r.Protocol != unix.RTPROT_RA {
			continue
		}
		if itf, err := net.InterfaceByIndex(r.LinkIndex); err == nil {
			names = append(names, itf.Name)
		}
	}
	return names, nil
}
