package hub

import (
	"net/netip"

	"stepvpn/step2-tun/packet"
	"stepvpn/step5-nat/hostnet"
)

// This file is what an address is to the hub: a packet's source and destination, inside the tunnel
// or not, the server's own, or one for many (broadcast).

// addresses returns a packet's source and destination. It reports false if p is not
// exactly one whole IP packet.
func addresses(p []byte) (src, dst netip.Addr, ok bool) {
	if len(p) == 0 {
		return src, dst, false
	}
	if p[0]>>4 == 4 {
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

// inside reports whether addr is in one of the tunnel's networks.
func (h *Hub) inside(addr netip.Addr) bool {
	for _, p := range h.cfg.Addrs {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// own reports whether addr is one of the server's own addresses in the tunnel.
func (h *Hub) own(addr netip.Addr) bool {
	for _, p := range h.cfg.Addrs {
		if p.Addr() == addr {
			return true
		}
	}
	return false
}

// toMany reports whether a packet to addr is for more than one host. The last
// address of an IPv4 network is its broadcast address (RFC 919, section 7).
func (h *Hub) toMany(addr netip.Addr) bool {
	if addr.IsMulticast() || addr == broadcast {
		return true
	}
	for _, last := range h.broadcasts {
		if addr == last {
			return true
		}
	}
	return false
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// broadcastsOf returns the broadcast addresses of the IPv4 networks among addrs.
func broadcastsOf(addrs []netip.Prefix) (list []netip.Addr) {
	for _, p := range addrs {
		if !p.Addr().Is4() || p.Bits() >= 31 { // RFC 3021: a /31 has none
			continue
		}
		list = append(list, hostnet.LastAddr(p))
	}
	return list
}

// ClientAt returns the first address of the client that has addr in the tunnel, or addr
// itself if no client has it. So all addresses of one client give the same result, and in
// step 8 the resolver gives all of them one share.
func (h *Hub) ClientAt(addr netip.Addr) netip.Addr {
	if c := h.directory.at(addr); c != nil {
		return c.addrs[0]
	}
	return addr
}
