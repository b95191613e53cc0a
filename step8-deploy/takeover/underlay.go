package takeover

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"stepvpn/step5-nat/hostnet"
	"stepvpn/step5-nat/policy"
	"stepvpn/step5-nat/route"
	"stepvpn/step6-dns/nft"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/lan"
	"stepvpn/step8-deploy/reconcile"
)

// This file limits where the sockets that may bypass the tunnel (those with the mark of step
// 5) may send: only to servers, and to nameservers that are asked for their names.

// Sockets with the mark pass everything that is closed, and the process that has them reads
// what comes from the network. So the mark is good for one thing only: to talk to a server,
// or to a nameserver that is asked for a server's name. A table of its own refuses the rest.
const underlayName nft.Table = "inet stepvpn_underlay"

// TiedMark is the mark of a raw socket that is tied to the tunnel's device. The table keeps it
// there: otherwise the socket could be made to send whole packets through any device
// (IP_HDRINCL and IP_PKTINFO, or the scope of an IPv6 address).
const TiedMark = 22507

// destinations are the addresses that sockets with the mark may talk to; nil means no table.
type destinations []destination

type destination struct {
	network string // "udp" or "tcp"
	addr    netip.AddrPort
}

// maxDestinations is the largest number of destinations. Beyond that, the first ones go: those
// that are not in use any more (see Disuse), and then the oldest.
const maxDestinations = 64

// begin allows the servers that have an address in the settings.
func (d *destinations) begin(cfg *config.Client) {
	if *d == nil {
		*d = destinations{}
	}
	for _, s := range cfg.Servers {
		if a, err := netip.ParseAddr(s.Host); err == nil {
			for _, network := range []string{"udp", cfg.Transport} {
				d.add(destination{network, netip.AddrPortFrom(a.Unmap(), s.Port)})
			}
		}
	}
}

func (d *destinations) add(one destination) (isNew bool) {
	if slices.Contains(*d, one) {
		return false
	}
	*d = append(*d, one)
	*d = (*d)[max(0, len(*d)-maxDestinations):]
	return true
}

// table returns the table that refuses all other destinations, and keeps sockets with the
// TiedMark in the device.
func (d destinations) table(device string) reconcile.Table {
	var pass strings.Builder
	for _, one := range d {
		fmt.Fprintf(&pass, "\t\t%s daddr %v %s dport %d accept\n", lan.Word(hostnet.FamilyOf(one.addr.Addr())), one.addr.Addr().WithZone(""), one.network, one.addr.Port())
	}
	return reconcile.Table{Name: underlayName, Text: fmt.Sprintf(`table %s {
	chain marked {
%s		reject with icmpx type admin-prohibited
	}
	chain output {
		type filter hook output priority 0
		meta mark %d jump marked
		meta mark %d oifname != %q drop
	}
}
`, underlayName, pass.String(), route.FwMark, TiedMark, device)}
}

// Allow lets sockets with the mark talk to an address, over network ("udp" or "tcp").
func (h *Host) Allow(network string, addr netip.AddrPort) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return errEnded
	}
	if !h.underlay.add(destination{network, addr}) {
		return nil
	}
	return h.tables.Set(h.underlay.table(h.cfg.Device))
}

// Disuse says that the sockets to an address have been closed. It stays allowed until others
// need its place: so the many addresses that a name may have do not take that of a server that
// is in use.
func (h *Host) Disuse(network string, addr netip.AddrPort) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := slices.Index(h.underlay, destination{network, addr}); i >= 0 {
		h.underlay = slices.Insert(slices.Delete(h.underlay, i, i+1), 0, destination{network, addr})
	}
}

// A socketRule is the rule that a socket with the mark needs (see guard.Socket).
type socketRule struct{ rule policy.Rule }

// CarryOut adds the rule that a socket with the mark needs, and keeps it until undo is
// called.
func (h *Host) CarryOut(r policy.Rule) (undo func() error, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return nil, errEnded
	}
	if err := r.Add().Do(); err != nil {
		return nil, err
	}
	s := &socketRule{r}
	h.sockets = append(h.sockets, s)
	return func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		i := slices.Index(h.sockets, s)
		if i < 0 {
			return nil
		}
		h.sockets = slices.Delete(h.sockets, i, i+1)
		if err := r.Add().Undo(); !errors.Is(err, unix.ENOENT) {
			return err
		}
		return nil
	}, nil
}
