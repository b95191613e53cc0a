package gateway

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"

	"github.com/coreos/go-iptables/iptables"

	"stepvpn/step5-nat/hostnet"
)

// prefix starts the name of each of our chains. The device's name follows, so
// that two tunnels on one host have chains of their own.
const prefix = "STEPVPN-"

// A firewall is what iptables does for one family of one tunnel: a chain in
// each of four tables, all of the same name.
type firewall struct {
	family  hostnet.Family
	device  string
	subnets []netip.Prefix // of the family; may be empty
	egress  string         // may be empty
	ipt     *iptables.IPTables
}

// A chain is one of ours, and the built-in chain whose first rule jumps to it.
type chain struct {
	table, from string
	jump        []string   // what the jump's packets must match, if anything
	rules       [][]string // in order
}

// serves reports whether clients are forwarded at all.
func (w *firewall) serves() bool { return len(w.subnets) > 0 && w.egress != "" }

// name is that of our chain in each table: at most 23 bytes, of the 28 that
// iptables allows.
func (w *firewall) name() string { return prefix + w.device }

// chains says what is to be there. The kernel goes through the four tables in
// this order.
func (w *firewall) chains() []chain {
	source := chain{table: "raw", from: "PREROUTING", jump: fromDevice(w.device)}
	mss := chain{table: "mangle", from: "FORWARD"}
	pass := chain{table: "filter", from: "FORWARD"}
	nat := chain{table: "nat", from: "POSTROUTING"}

	// A client uses an address of the tunnel, or it is not heard.
	for _, s := range w.subnets {
		source.add("-s", s.String(), "-j", "RETURN")
	}
	source.add("-j", "DROP")

	if w.serves() {
		// TCP segments must fit into the tunnel. The ends agree on their size in
		// their first packets, so that is where to correct it, both ways.
		syn := []string{"-p", "tcp", "--tcp-flags", "SYN,RST", "SYN", "-j", "TCPMSS", "--clamp-mss-to-pmtu"}
		mss.add("-i", w.device, syn...)
		mss.add("-o", w.device, syn...)

		// Out only by the egress interface, and in only what was asked for.
		pass.add("-i", w.device, "-o", w.egress, "-j", "ACCEPT")
		pass.add("-o", w.device, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT")

		for _, s := range w.subnets {
			nat.add("-s", s.String(), "-o", w.egress, "-j", "MASQUERADE")
		}
	}
	pass.add("-i", w.device, "-j", "DROP")
	pass.add("-o", w.device, "-j", "DROP")
	return []chain{source, mss, pass, nat}
}
