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
	"stepvpn/step8-deploy/keep"
	"stepvpn/step8-deploy/lan"
)

// Sockets with the mark pass all that is closed, and they are in the hands of a process
// that reads what comes from the network. So the mark is good for one thing only: to
// talk to a server, or to a nameserver that is asked for a server's name. A table of its
// own refuses the rest.
const underlayName nft.Table = "inet stepvpn_underlay"

// TiedMark is the mark of a socket that is tied to the tunnel's device, and stays so: one
// that is raw can be made to send whole packets by any device otherwise (IP_HDRINCL and
// IP_PKTINFO, or the scope of an IPv6 address).
const TiedMark = 22507

// destinations are whom sockets with the mark may talk to; nil stands for no table.
type destinations []destination

type destination struct {
	network string // "udp" or "tcp"
	addr    netip.AddrPort
}

// maxDestinations bounds how many there are. The oldest ones go.
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

// table is the one that refuses all others, and keeps sockets with the TiedMark in the
// device.
func (d destinations) table(device string) keep.Table {
	var pass strings.Builder
	for _, one := range d {
		fmt.Fprintf(&pass, "\t\t%s daddr %v %s dport %d accept\n", lan.Word(hostnet.FamilyOf(one.addr.Addr())), one.addr.Addr().WithZone(""), one.network, one.addr.Port())
	}
	return keep.Table{Name: underlayName, Text: fmt.Sprintf(`table %s {
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

// Allow lets sockets with the mark talk to an address.
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

// A socketRule is what a socket with the mark needs.
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
