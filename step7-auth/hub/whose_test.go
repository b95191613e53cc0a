package hub

import (
	"net/netip"
	"testing"

	"stepvpn/shared/link"
)

// verdict says in words what becomes of a packet.
func verdict(to *client, why link.Reason, ok bool) string {
	switch {
	case !ok:
		return why.String()
	case to == nil: // for a packet from a client
		return "device"
	}
	return map[string]string{"c0": "alice", "c1": "bob"}[to.name]
}

// Where a client's packet goes, or why it goes nowhere.
func TestDestination(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		c := gather(t, 2, 64, func(cfg *Config) { cfg.ClientToClient = allowed })
		alice, bob := c.clients[0].welcome.Addrs, c.clients[1].welcome.Addrs
		a4, a6, b4, b6 := alice[0].Addr(), alice[1].Addr(), bob[0].Addr(), bob[1].Addr()
		server4, server6 := tunnelNet[0].Addr(), tunnelNet[1].Addr()
		across, nobody := "to-client", "to-client"
		if allowed {
			across, nobody = "bob", "no-client"
		}
		for _, p := range []struct {
			name   string
			packet []byte
			want   string
		}{
			{"own address", ip(a4, web, ""), "device"},
			{"own address, IPv6", ip(a6, web6, ""), "device"},
			{"to the server", ip(a4, server4, ""), "device"},
			{"to the server, IPv6", ip(a6, server6, ""), "device"},

			{"from bob's address", ip(b4, web, ""), "spoofed"},
			{"from bob's address, IPv6", ip(b6, web6, ""), "spoofed"},
			{"from the server's address", ip(server4, web, ""), "spoofed"},
			{"from an address of the internet", ip(web, web, ""), "spoofed"},
			{"from an address of the internet, IPv6", ip(web6, web6, ""), "spoofed"},
			{"from no address", ip(netip.IPv4Unspecified(), web, ""), "spoofed"},
			{"from bob's address to bob", ip(b4, b4, ""), "spoofed"},

			{"to bob", ip(a4, b4, ""), across},
			{"to bob, IPv6", ip(a6, b6, ""), across},
			{"to nobody", ip(a4, netip.MustParseAddr("10.8.0.99"), ""), nobody},
			{"to herself", ip(a4, a4, ""), nobody},

			{"multicast", ip(a4, netip.MustParseAddr("224.0.0.251"), ""), "multicast"},
			{"the network's broadcast", ip(a4, netip.MustParseAddr("10.8.255.255"), ""), "multicast"},
			{"half a header", ip(a4, web, "")[:10], "malformed"},
		} {
			if got := verdict(c.hub.destination(c.hub.directory.at(a4), p.packet)); got != p.want {
				t.Errorf("alice's packet %s: %s, and it should be: %s (client to client: %v)", p.name, got, p.want, allowed)
			}
		}
		one := c.hub.directory.at(a4)
		one.state.Store(loggingIn)
		for _, dst := range []netip.Addr{web, server4, b4} {
			if got := verdict(c.hub.destination(one, ip(a4, dst, ""))); got != "not-logged-in" {
				t.Errorf("a packet to %v before the password was given: %s, and it should be: not-logged-in", dst, got)
			}
		}
		one.state.Store(open)
	}
}

// The client that a packet from the device is for.
func TestRecipient(t *testing.T) {
	c := gather(t, 2, 64, nil)
	alice, bob := c.clients[0].welcome.Addrs, c.clients[1].welcome.Addrs
	a4, a6, b4, b6 := alice[0].Addr(), alice[1].Addr(), bob[0].Addr(), bob[1].Addr()
	for _, p := range []struct {
		name   string
		packet []byte
		want   string
	}{
		{"to alice", ip(web, a4, ""), "alice"},
		{"to alice, IPv6", ip(web6, a6, ""), "alice"},
		{"to bob", ip(web, b4, ""), "bob"},
		{"to bob, IPv6", ip(web6, b6, ""), "bob"},
		{"to alice from bob's address", ip(b4, a4, ""), "alice"},
		{"to nobody", ip(web, netip.MustParseAddr("10.8.0.99"), ""), "no-client"},
		{"to the internet from alice's address", ip(a4, web, ""), "no-client"},
		{"to many", ip(web6, netip.MustParseAddr("ff02::1"), ""), "multicast"},
		{"half a header", ip(web, a4, "")[:10], "malformed"},
	} {
		for name, before := range map[string]*client{"none": nil, "to alice": c.hub.directory.at(a4), "to bob": c.hub.directory.at(b4)} {
			if got := verdict(c.hub.recipient(p.packet, before)); got != p.want {
				t.Errorf("a packet %s: %s, and it should be: %s (the one before: %s)", p.name, got, p.want, name)
			}
		}
	}
}
