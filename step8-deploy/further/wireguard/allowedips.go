package wireguard

import (
	"cmp"
	"net/netip"
	"slices"

	"stepvpn/shared/link"
	"stepvpn/step2-tun/packet"
)

// This file says which peer has which addresses inside the tunnel, by AllowedIPs in the file:
// the WireGuard protocol's "cryptokey routing" (WireGuard whitepaper, section 2). A packet to
// send goes to the peer that has its destination; a packet that has arrived passes if the peer
// that sent it has its source.

// NotAllowed is the reason for dropping a packet that a peer has sent from a source that is not
// among its AllowedIPs.
var NotAllowed = link.NewReason("not-allowed")

// allowedIPs finds the peer that has an address. It does not change, so it may be used by
// several goroutines.
type allowedIPs struct {
	peers  map[netip.Prefix]*Peer
	v4, v6 []int // the lengths of prefixes that occur, the longest first
}

// newAllowedIPs makes the table of these peers. If two of them have the same prefix, the later
// one has it, as with wg(8).
func newAllowedIPs(peers []*Peer) *allowedIPs {
	a := &allowedIPs{peers: make(map[netip.Prefix]*Peer)}
	for _, peer := range peers {
		for _, n := range peer.AllowedIPs {
			n = n.Masked()
			a.peers[n] = peer
			if lengths := a.lengths(n.Addr()); !slices.Contains(*lengths, n.Bits()) {
				*lengths = append(*lengths, n.Bits())
			}
		}
	}
	for _, lengths := range []*[]int{&a.v4, &a.v6} {
		slices.SortFunc(*lengths, func(x, y int) int { return cmp.Compare(y, x) })
	}
	return a
}

func (a *allowedIPs) lengths(addr netip.Addr) *[]int {
	if addr.Is4() {
		return &a.v4
	}
	return &a.v6
}

// peerOf returns the peer that has an address: that of the longest prefix that contains it. It
// returns nil if there is none. It allocates nothing.
//
//exercise:3
func (a *allowedIPs) peerOf(addr netip.Addr) *Peer {
	for _, bits := range *a.lengths(addr) {
		n, _ := addr.Prefix(bits) // which fails only if an address has fewer bits
		if peer := a.peers[n]; peer != nil {
			return peer
		}
	}
	return nil
}

// A lookup remembers the last answer of a table, as neighbours in a burst mostly have the same
// address. It belongs to one goroutine.
type lookup struct {
	*allowedIPs
	addr netip.Addr
	peer *Peer
}

func (l *lookup) peerOf(addr netip.Addr) *Peer {
	if addr != l.addr {
		l.addr, l.peer = addr, l.allowedIPs.peerOf(addr)
	}
	return l.peer
}

// addresses returns a packet's source and destination. It reports false if p is not one whole
// IP packet.
func addresses(p []byte) (src, dst netip.Addr, ok bool) {
	if len(p) > 0 && p[0]>>4 == 4 {
		h, err := packet.AsIPv4(p)
		if err != nil {
			return src, dst, false
		}
		return h.Src(), h.Dst(), true
	}
	h, err := packet.AsIPv6(p)
	if err != nil {
		return src, dst, false
	}
	return h.Src(), h.Dst(), true
}
