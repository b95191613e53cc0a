// Package source says what counts as one source of messages: an address, and the
// networks around it that one party can have as a whole. Introduced in step 7.
//
// A limit for single addresses does not hold an attacker who has many. For IPv6 that
// is everybody: a host chooses among 2^64 addresses, a customer gets a /56 of 256
// such networks, and a site a /48 (RFC 6177). So a limit holds for each of these
// networks, too, and is the wider the larger the network.
package source

import "net/netip"

// The networks around an address, widest first, in bits: a site and a customer, for
// IPv6 one host, and the address itself.
var (
	bits4 = [...]int{24, 32}
	bits6 = [...]int{48, 56, 64, 128}
)

// MaxNetworks is how many networks Networks appends at most.
const MaxNetworks = len(bits6)

// Networks appends to dst the networks around an address, the widest first and the
// address itself last. An IPv4 address is the same in either form; the zero address
// has none.
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
