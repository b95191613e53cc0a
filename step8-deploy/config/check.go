package config

import (
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"stepvpn/step2-tun/packet"
)

// This file checks a file as a whole: its kind, settings that contradict each other, and
// secrets that others may read. Warning says what is allowed, but dangerous.

// checkKind checks the key kind, and forgets all values if it is wrong.
func (d *document) checkKind(want string) {
	const allowed = `kind = "server" or kind = "client"`
	value, given := d.values["kind"]
	kind, isText := value.(string)
	switch {
	case !given:
		d.add(0, "the key kind is missing", allowed)
	case !isText || kind != KindServer && kind != KindClient:
		d.addTo("kind", -1, `kind is neither "server" nor "client"`, allowed)
	case want != "" && kind != want:
		d.addTo("kind", -1, fmt.Sprintf("this is the file of a %s, but a %s is to be started", kind, want), "")
	default:
		return
	}
	d.values = nil
}

// check notes settings of a server that contradict each other.
func (s *Server) check(d *document) {
	for i, a := range s.Subnets {
		for _, b := range s.Subnets[:i] {
			if a.Addr().Is4() == b.Addr().Is4() {
				d.addTo("subnets", i, "subnets has two of the same family", "one address with its subnet for IPv4, IPv6 or each")
			}
		}
		if a.Addr().Is6() && s.MTU != 0 && s.MTU < packet.MinIPv6MTU {
			d.addTo("mtu", -1, fmt.Sprintf("mtu is %d, but there is an IPv6 subnet", s.MTU), "0, or at least 1280 bytes with IPv6")
		}
		_, given := d.values["max_clients"]
		if room := hosts(a); given && s.MaxClients > room {
			d.addTo("max_clients", -1, fmt.Sprintf("max_clients is %d, but %v has room for only %d", s.MaxClients, a, room), "")
		}
	}
	if _, given := d.values["dns_upstreams"]; given && d.values["dns"] == false {
		d.addTo("dns_upstreams", -1, "dns_upstreams is set, but dns is false", "dns = true, or no dns_upstreams")
	}
	if s.WireGuard && !slices.Contains(s.Transports, "udp") {
		d.addTo("wireguard", -1, "wireguard is true, but transports lacks udp, by which alone those clients come", `transports = ["udp"] or ["udp", "tcp"], or no wireguard`)
	}
	if slices.Contains(s.Egress, s.Device) {
		d.addTo("egress", -1, "egress is the tunnel's own device", "")
	}
	for _, up := range s.DNSUpstreams {
		for _, own := range s.Subnets {
			if up == netip.AddrPortFrom(own.Addr(), dnsPort) {
				d.addTo("dns_upstreams", -1, fmt.Sprintf("dns_upstreams has %v, which is the server itself", up.Addr()), "")
			}
		}
	}
}

// Warning returns a warning about settings that are allowed, but dangerous; "" if there are
// none.
func (s *Server) Warning() string {
	if s.Reach == nil {
		return `clients reach every service of the server itself, because the key reach is missing: reach = [] lets them reach only DNS and ping, reach = ["tcp:22"] also SSH, and reach = ["server"] everything`
	}
	return ""
}

// hosts returns how many clients a subnet has room for, in addition to the server.
func hosts(p netip.Prefix) int {
	bits := p.Addr().BitLen() - p.Bits()
	switch {
	case bits > 16:
		return maxClients
	case p.Addr().Is4():
		return 1<<bits - 3 // without the network's own, the broadcast address, and the server
	}
	return 1<<bits - 2 // IPv6 has no broadcast
}

// check notes settings of a client that contradict each other, and secrets in a file whose mode
// lets others read them.
func (c *Client) check(d *document, mode fs.FileMode) {
	_, inline := d.values["private_key"]
	_, file := d.values["key_file"]
	switch {
	case inline && file:
		d.addTo("private_key", -1, "private_key and key_file are both set", "one of the two")
	case !inline && !file && !d.has("wireguard"):
		d.add(0, "the key private_key or key_file is missing", "private_key with the key itself, or key_file with the file that has it")
	}
	_, inline = d.values["psk"]
	_, file = d.values["psk_file"]
	if inline && file {
		d.addTo("psk", -1, "psk and psk_file are both set", "one of the two")
	}
	secret := slices.ContainsFunc(secretKeys, d.has)
	if perm := mode.Perm(); perm&0o077 != 0 && secret {
		d.add(0, fmt.Sprintf("it holds a secret, and may be read or changed by users other than its owner (mode %#o)", perm),
			fmt.Sprintf("mode 0600. If nobody has read it so far, type: chmod 600 %s; otherwise make a new key", d.file))
	}
	if c.AllowOtherDNS && d.values["dns"] == false {
		d.addTo("allow_other_dns", -1, "allow_other_dns is set, but dns is false", "dns = true, or no allow_other_dns")
	}
}
