package gateway

import (
	"fmt"
	"net/netip"
	"strings"

	"stepvpn/step5-nat/hostnet"
)

// A firewall is what iptables must have for one address family of one tunnel: chains says
// which rules, and iptables.go puts them there.
type firewall struct {
	family  hostnet.Family
	device  string
	subnets []netip.Prefix // of the family; may be empty
	egress  []string       // interfaces; may be empty
	tables  [4]table       // those of hooks, as last read
}

// A chain is one of ours. The first rule of a built-in chain jumps to it.
type chain struct {
	hook
	rules []string // as one would type them after "-A STEPVPN-vpn0"
}

func (c *chain) add(rule string, args ...any) { c.rules = append(c.rules, fmt.Sprintf(rule, args...)) }

// A hook is a built-in chain that jumps to one of ours.
type hook struct {
	table, from string
	match       string // limits the jump to packets that match
}

// hooks returns the four places where a device's packets are inspected, in the order
// in which a packet passes them.
func hooks(device string) [4]hook {
	return [4]hook{
		{"raw", "PREROUTING", "-i " + device},
		{"mangle", "FORWARD", ""},
		{"filter", "FORWARD", ""},
		{"nat", "POSTROUTING", ""},
	}
}

// jump returns the rule of the built-in chain that leads to ours.
func (h hook) jump(name string) []string {
	return append(strings.Fields(h.match), "-j", name)
}

// chains returns the chains that the firewall must have.
//
//exercise:3
func (w *firewall) chains() []chain {
	h := hooks(w.device)
	source, mss, pass, nat := chain{hook: h[0]}, chain{hook: h[1]}, chain{hook: h[2]}, chain{hook: h[3]}

	// Packets from a client are dropped unless their source is an address of the tunnel.
	for _, s := range w.subnets {
		source.add("-s %v -j RETURN", s)
	}
	source.add("-j DROP")

	if !w.serves() {
		pass.add("-i %s -j DROP", w.device)
		pass.add("-o %s -j DROP", w.device)
		return []chain{source, pass}
	}

	// A TCP segment must fit into the tunnel. Each end announces in its first packet
	// the longest segment that it accepts (RFC 9293, section 3.7.1), so this number is
	// lowered in both directions.
	mss.add("-i %s -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu", w.device)
	mss.add("-o %s -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu", w.device)

	// A client's packets may leave only by an egress interface, where they get this
	// host's address, and only answers to them may come in.
	for _, out := range w.egress {
		pass.add("-i %s -o %s -j ACCEPT", w.device, out)
		for _, s := range w.subnets {
			nat.add("-s %v -o %s -j MASQUERADE", s, out)
		}
	}
	pass.add("-o %s -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", w.device)
	pass.add("-i %s -j DROP", w.device)
	pass.add("-o %s -j DROP", w.device)
	return []chain{source, mss, pass, nat}
}

// prefix starts the name of each of our chains. The device's name follows, so
// that two tunnels on one host have chains of their own.
const prefix = "STEPVPN-"

// serves reports whether clients are forwarded at all. If not, the firewall
// only drops.
func (w *firewall) serves() bool { return len(w.subnets) > 0 && len(w.egress) > 0 }

// Chain returns the name of a device's chain in each table. It has at most 23 of the 28
// bytes that iptables allows. Step 8 looks whether the chains are still there.
func Chain(device string) string { return prefix + device }
