package takeover

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step8-deploy/lan"
)

// notes lists traffic of this host that does not go as its user may expect, in a sentence
// each, for the log and for 'stepvpn status': some of it bypasses the tunnel, some of it is
// refused. None of it is an error. h.mu is locked.
func (h *Host) notes() (list []string) {
	if t := h.taken; t != nil {
		if through(t.cfg) {
			list = append(list, throughNote)
		}
		if t.carries(hostnet.V6) && noIPv6(t.cfg.Device) {
			list = append(list, "IPv6 is switched off on this host, so the tunnel carries IPv4 only. "+switchOn)
		}
		for _, c := range h.lan.around {
			list = append(list, hidden(c, t.terms.Addrs)...)
		}
		list = append(list, before(t.cfg.Device, h.kill != nil)...)
	}
	list = append(list, bridged(h.kill != nil && !h.mending.paused)...)
	return list[:min(len(list), maxNotes)]
}

// maxNotes is the largest number of notes: the number of routes and bridges is not ours to
// limit.
const maxNotes = 32

// note logs each note once.
func (h *Host) note(notes []string) {
	for _, n := range notes {
		if !slices.Contains(h.noted, n) && len(h.noted) < maxTold {
			h.noted = append(h.noted, n)
			slog.Warn(strings.TrimSuffix(n, "."))
		}
	}
}

// hidden says which of the tunnel's networks hide a part of a network around this host.
func hidden(c lan.Claim, tunnel []netip.Prefix) (list []string) {
	for _, n := range tunnel {
		n = n.Masked()
		if !n.Overlaps(c.Network) {
			continue
		}
		part := n
		if c.Network.Bits() > n.Bits() {
			part = c.Network
		}
		list = append(list, fmt.Sprintf("%v of the network %v on %s is hidden by the tunnel's network %v: nobody there can be reached. "+
			"Another subnet in the server's settings ends that", part, c.Network, c.Device, n))
	}
	return list
}

// before lists policy rules of other programs that come before ours and lead elsewhere, such
// as Tailscale's (5210 to 5270, table 52). Such a rule takes precedence over the tunnel's:
// its packets go outside of the tunnel or, with a kill switch, nowhere.
func before(device string, closed bool) (list []string) {
	what := "goes outside of the tunnel"
	if closed {
		what = "is refused by the kill switch; both work with kill_switch = false"
	}
	for _, f := range hostnet.Families {
		if f.Off() {
			continue
		}
		rules, err := hostnet.Complete(func() ([]netlink.Rule, error) { return netlink.RuleList(int(f)) })
		if err != nil {
			continue
		}
		for _, r := range rules {
			if r.Priority <= 0 || r.Priority >= priorityFirst || r.Table == 0 || r.Table == unix.RT_TABLE_LOCAL {
				continue
			}
			if ways := waysOf(f, r, device); len(ways) > 0 {
				list = append(list, fmt.Sprintf("another program's %v rule %d%s comes before the tunnel's: what goes by its table %d, to %s, %s",
					f, r.Priority, marked(r), r.Table, strings.Join(ways, " and "), what))
			}
		}
	}
	return list
}

// marked returns the firewall mark that a rule is limited to, as text; "" if there is none.
func marked(r netlink.Rule) string {
	if r.Mark == 0 {
		return ""
	}
	if r.Mask != nil {
		return fmt.Sprintf(" (fwmark %#x/%#x)", r.Mark, *r.Mask)
	}
	return fmt.Sprintf(" (fwmark %#x)", r.Mark)
}

// maxWays is the largest number of networks of a table that are named.
const maxWays = 3

// waysOf lists where the table of a rule leads, other than into the tunnel, such as
// "100.64.0.0/10 by tailscale0".
func waysOf(f hostnet.Family, r netlink.Rule, device string) (ways []string) {
	routes, err := hostnet.Routes(f, r.Table)
	if err != nil {
		return nil
	}
	for _, route := range routes {
		c := lan.ClaimOf(route)
		if route.Type != unix.RTN_UNICAST || c.Device == "" || c.Device == device || c.Device == "lo" || r.SuppressPrefixlen >= c.Network.Bits() {
			continue
		}
		if len(ways) == maxWays {
			return append(ways, "others")
		}
		ways = append(ways, fmt.Sprintf("%v by %s", c.Network, c.Device))
	}
	return ways
}

// bridged lists devices that share the link by which this host is on its network. A machine
// behind such a device (a virtual machine, say) is on that network by itself, and its packets
// do not go through the tunnel. (If Docker has set bridge-nf-call-iptables, the firewall sees
// bridged packets, too, and the kill switch refuses them.) Such devices are bridges that have
// an address and several ports, macvlan and macvtap. A bridge that this host routes for, such
// as Docker's, is not among them.
func bridged(closed bool) (list []string) {
	what := "do not go through the tunnel"
	if calls, err := os.ReadFile("/proc/sys/net/bridge/bridge-nf-call-iptables"); closed && err == nil && strings.TrimSpace(string(calls)) == "1" {
		what = "are refused by the kill switch, as net.bridge.bridge-nf-call-iptables is 1"
	}
	links, err := hostnet.Complete(netlink.LinkList)
	if err != nil {
		return nil
	}
	out := make(map[string]bool)
	for _, f := range hostnet.Families {
		names, err := hostnet.DefaultRoutes(f, "")
		if err == nil {
			for _, name := range names {
				out[name] = true
			}
		}
	}
	for _, l := range links {
		if !out[l.Attrs().Name] {
			continue
		}
		var behind []string
		for _, p := range links {
			_, vlan := p.(*netlink.Macvlan)
			_, tap := p.(*netlink.Macvtap)
			if p.Attrs().MasterIndex == l.Attrs().Index && l.Type() == "bridge" || (vlan || tap) && p.Attrs().ParentIndex == l.Attrs().Index {
				behind = append(behind, p.Attrs().Name)
			}
		}
		slices.Sort(behind)
		if len(behind) > 1 || len(behind) == 1 && l.Type() != "bridge" {
			list = append(list, fmt.Sprintf("%s joins %s: machines behind these are on this host's network by themselves, and %s",
				l.Attrs().Name, strings.Join(behind, ", "), what))
		}
	}
	return list
}
