package pathmtu

import (
	"fmt"

	"stepvpn/step2-tun/packet"
	"stepvpn/step6-dns/nft"
)

// OurTable is the one that Ruleset is about.
const OurTable nft.Table = "inet stepvpn_mss"

// Ruleset is the table as one would type it: it has both ends of each TCP connection
// through a device told to send no segments that make packets of more than size bytes
// (the MSS option, RFC 9293, section 3.7.1): also those of hosts behind this one, and also
// where the device has to take more because IPv6 wants so. Connections that exist stay as
// they are. nft only ever lowers the option.
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
