package pathmtu

import (
	"fmt"

	"stepvpn/step2-tun/packet"
	"stepvpn/step6-dns/nft"
)

// Ruleset returns a table of nft that clamps TCP's maximum segment size (MSS), as a person would
// type it. It lowers the MSS option (RFC 9293,
// section 3.7.1) in each new TCP connection through a device, so that both ends send no
// segments that make packets of more than size bytes. That includes connections of hosts
// behind this one, and is needed where IPv6 forces the device to a larger MTU. Existing
// connections are not affected. nft never raises the option.
func Ruleset(device string, size int) string {
	const ipv4, ipv6 = packet.IPv4HeaderLen + packet.TCPHeaderLen, packet.IPv6HeaderLen + packet.TCPHeaderLen
	return fmt.Sprintf(`table %s {
	chain clamp {
		meta nfproto ipv4 tcp option maxseg size set %d
		meta nfproto ipv6 tcp option maxseg size set %d
	}
	chain input {
		type filter hook input priority -150
		iifname %[4]q tcp flags & (syn|rst) == syn jump clamp
	}
	chain forward {
		type filter hook forward priority -150
		iifname %[4]q tcp flags & (syn|rst) == syn jump clamp
		oifname %[4]q tcp flags & (syn|rst) == syn jump clamp
	}
	chain output {
		type filter hook output priority -150
		oifname %[4]q tcp flags & (syn|rst) == syn jump clamp
	}
}
`, OurTable, size-ipv4, size-ipv6, device)
}

// OurTable is the name of Ruleset's table.
const OurTable nft.Table = "inet stepvpn_mss"
