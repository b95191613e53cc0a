package takeover

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/nft"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/keep"
	"stepvpn/step8-deploy/lan"
)

// Sockets with the mark pass all that is closed, and they are in the hands of a process
// that reads what comes from the network. So the mark is good for one thing only: to
// talk to a server, or to a nameserver that is asked for a server's name. A table of its
// own refuses the rest.
const underlayName nft.Table = "inet stepvpn_underlay"

// An underlayTable is that table. Host.mu guards it.
type underlayTable struct {
	keep.Table
	to []destination
}

type destination struct {
	network string // "udp" or "tcp"
	addr    netip.AddrPort
}

// maxDestinations bounds how many there are. The oldest ones go.
const maxDestinations = 64

// begin makes the table, with the servers that have an address in the settings.
func (u *underlayTable) begin(cfg *config.Client) error {
	for _, s := range cfg.Servers {
		if a, err := netip.ParseAddr(s.Host); err == nil {
			for _, network := range []string{"udp", cfg.Transport} {
				u.add(destination{network, netip.AddrPortFrom(a.Unmap(), s.Port)})
			}
		}
	}
	u.Table = keep.Table{Name: underlayName, Make: func() error { return underlayName.Set(u.ruleset()) }}
	return u.Set()
}

func (u *underlayTable) add(d destination) (isNew bool) {
	if slices.Contains(u.to, d) {
		return false
	}
	u.to = append(u.to, d)
	u.to = u.to[max(0, len(u.to)-maxDestinations):]
	return true
}

// ruleset is the table as one would type it.
func (u *underlayTable) ruleset() string {
	var pass strings.Builder
	for _, d := range u.to {
		fmt.Fprintf(&pass, "\t\t%s daddr %v %s dport %d accept\n", lan.Word(hostnet.FamilyOf(d.addr.Addr())), d.addr.Addr().WithZone(""), d.network, d.addr.Port())
	}
	return fmt.Sprintf(`table %s {
	chain marked {
%s		reject with icmpx type admin-prohibited
	}
	chain output {
		type filter hook output priority 0
		meta mark %d jump marked
	}
}
`, underlayName, pass.String(), route.FwMark)
}

// Allow lets sockets with the mark talk to an address.
func (h *Host) Allow(network string, addr netip.AddrPort) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.underlay.add(destination{network, addr}) {
		return nil
	}
	return h.underlay.Set()
}

// CarryOut makes the rules that a socket with the mark needs, and keeps them until undo
// is called.
func (h *Host) CarryOut(list []policy.Change) (undo func() error, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := new(keep.Changes)
	back, err := c.CarryOut(list)
	if err != nil {
		return nil, err
	}
	if h.sockets == nil {
		h.sockets = make(map[*keep.Changes]bool)
	}
	h.sockets[c] = true
	return func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.sockets, c)
		return back()
	}, nil
}
