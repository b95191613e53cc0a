package wireguard

import (
	"net/netip"
	"testing"

	"stepvpn/shared/link"
)

// The peers of these tests: a provider for everything, an office that has a part of that, and one
// host of the office's network that is a peer of its own.
func somePeers(drops *link.Drops) (p *Peers, name func(*Peer) string) {
	provider := &Peer{AllowedIPs: prefixes("0.0.0.0/0", "::/0")}
	office := &Peer{AllowedIPs: prefixes("10.0.0.0/8", "fd00:1::/32")}
	host := &Peer{AllowedIPs: prefixes("10.1.2.3/32", "fd00:1::7/128")}
	p = NewPeers([]*Peer{provider, office, host}, drops)
	return p, func(peer *Peer) string {
		switch peer {
		case provider:
			return "the provider"
		case office:
			return "the office"
		case host:
			return "the host"
		}
		return "nobody"
	}
}

// byAddress says who has which address.
var byAddress = map[string]string{
	"192.0.2.1": "the provider", "11.0.0.0": "the provider", "2001:db8::1": "the provider",
	"10.9.9.9": "the office", "10.1.2.4": "the office", "fd00:1::8": "the office",
	"10.1.2.3": "the host", "fd00:1::7": "the host",
}

// noPackets are what a hostile peer may send in the place of a packet.
var noPackets = [][]byte{{}, {0x45}, ip("192.0.2.1", "192.0.2.2", 8, 0)[:27], ip("fd00:1::8", "fd00:1::7", 8, 0)[:47], {0, 1, 2, 3}}

func TestPeerOf(t *testing.T) {
	p, name := somePeers(new(link.Drops))
	for addr, want := range byAddress {
		if got := name(p.table.peerOf(netip.MustParseAddr(addr))); got != want {
			t.Errorf("%s has %s, and not %s", got, addr, want)
		}
	}
	some := newAllowedIPs([]*Peer{{AllowedIPs: prefixes("10.0.0.0/8")}})
	for _, addr := range []string{"192.0.2.1", "fd00:1::7"} {
		if some.peerOf(netip.MustParseAddr(addr)) != nil {
			t.Errorf("a peer with 10.0.0.0/8 has %s", addr)
		}
	}
}

// other returns an address of the same family, which is this host's in the tunnel.
func other(addr string) string {
	if netip.MustParseAddr(addr).Is4() {
		return "10.8.0.2"
	}
	return "fd00:1::2"
}

// verdict is what became of a packet.
func verdict(to string, why link.Reason, ok bool) string {
	if ok {
		return to
	}
	return "dropped, " + why.String()
}

func TestRecipient(t *testing.T) {
	p, name := somePeers(new(link.Drops))
	for addr, want := range byAddress {
		to, why, ok := p.recipient(ip(other(addr), addr, 8, 0))
		if got := verdict(name(to), why, ok); got != want {
			t.Errorf("a packet to %s: %s, and not %s", addr, got, want)
		}
	}
	for _, m := range noPackets {
		_, why, ok := p.recipient(m)
		if got := verdict("sent", why, ok); got != "dropped, malformed" {
			t.Errorf("what is no packet, %x: %s", m, got)
		}
	}
	_, why, ok := NewPeers([]*Peer{{AllowedIPs: prefixes("10.0.0.0/8")}}, new(link.Drops)).recipient(ip("10.8.0.2", "192.0.2.1", 8, 0))
	if got := verdict("sent", why, ok); got != "dropped, no-peer" {
		t.Errorf("a packet that is for nobody: %s", got)
	}
}

func TestPasses(t *testing.T) {
	p, name := somePeers(new(link.Drops))
	for addr, owner := range byAddress {
		for _, sender := range p.list {
			s := &session{peer: sender}
			s.in.allowedIPs = p.table
			want := "passes"
			if name(sender) != owner {
				want = "dropped, not-allowed"
			}
			why, ok := s.passes(ip(addr, other(addr), 8, 0))
			if got := verdict("passes", why, ok); got != want {
				t.Errorf("a packet by %s from %s, which %s has: %s", name(sender), addr, owner, got)
			}
		}
	}
	s := &session{peer: p.list[0]}
	s.in.allowedIPs = p.table
	for _, m := range noPackets {
		why, ok := s.passes(m)
		if got := verdict("passes", why, ok); got != "dropped, malformed" {
			t.Errorf("what is no packet, %x: %s", m, got)
		}
	}
}
