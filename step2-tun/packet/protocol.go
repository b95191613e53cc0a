package packet

import "strconv"

// A Protocol is a number from IANA's list of IP protocols
// (https://www.iana.org/assignments/protocol-numbers). IPv6 takes the numbers
// of its extension headers from the same list.
type Protocol uint8

// The protocols that Parse looks into, steps over, or stops at.
const (
	HopByHop           Protocol = 0
	ProtoICMP          Protocol = 1
	ProtoTCP           Protocol = 6
	ProtoUDP           Protocol = 17
	Routing            Protocol = 43
	FragmentHeader     Protocol = 44
	ESP                Protocol = 50
	AH                 Protocol = 51
	ProtoICMPv6        Protocol = 58
	NoNextHeader       Protocol = 59
	DestinationOptions Protocol = 60
)

var protocolNames = map[Protocol]string{
	HopByHop:           "hop-by-hop",
	ProtoICMP:          "ICMP",
	2:                  "IGMP",
	4:                  "IPv4", // a packet within a packet
	ProtoTCP:           "TCP",
	ProtoUDP:           "UDP",
	33:                 "DCCP",
	41:                 "IPv6", // a packet within a packet
	Routing:            "routing",
	FragmentHeader:     "fragment",
	47:                 "GRE",
	ESP:                "ESP",
	AH:                 "AH",
	ProtoICMPv6:        "ICMPv6",
	NoNextHeader:       "no-next-header",
	DestinationOptions: "destination-options",
	89:                 "OSPF",
	103:                "PIM",
	112:                "VRRP",
	132:                "SCTP",
	136:                "UDP-Lite",
}

// String returns the name, or "protocol N" for one that is not listed here.
func (p Protocol) String() string {
	if name, ok := protocolNames[p]; ok {
		return name
	}
	return "protocol " + strconv.Itoa(int(p))
}
