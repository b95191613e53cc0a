// Package source says what counts as one source of messages: an address, and the
// networks around it that may belong to a single party. Introduced in step 7.
//
// A limit on single addresses does not stop an attacker who has many. With IPv6
// everybody has: a host chooses among 2^64 addresses, a customer gets a /56 of 256
// such networks, and a site a /48 (RFC 6177). So each of these networks has a limit,
// too; the larger the network, the higher the limit.
package source

import "net/netip"

// The networks around an address, widest first, in bits: a site and a customer, for
// IPv6 one host, and the address itself.
var (
	bits4 = [...]int{24, 32}
	bits6 = [...]int{48, 56, 64, 128}
)

// MaxNetworks is the largest number of networks that Networks appends.
const MaxNetworks = len(bits6)

// Networks appends to dst the networks around an address, the widest first and the
// address itself last. An IPv4-mapped IPv6 address counts as IPv4; the zero address has
// no networks. Networks allocates nothing if dst has room for MaxNetworks more.
func Networks(dst []netip.Prefix, a netip.Addr) []netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := bits6[:]
	switch {
	case !a.IsValid():
		return dst
	case a.Is4():
		bits = bits4[:]
	}
	for _, n := range bits {
		p, _ := a.Prefix(n) // none of these is too long
		dst = append(dst, p)
	}
	return dst
}
