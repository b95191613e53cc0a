package packet

// A Malformed error is the reason why bytes are not a packet.
type Malformed string

// Error returns the reason.
func (m Malformed) Error() string { return "malformed: " + string(m) }

// The reasons why Check refuses a packet.
const (
	errEmpty        Malformed = "empty"
	errNoVersion    Malformed = "IP version is neither 4 nor 6"
	errVersion      Malformed = "not of this IP version" // from AsIPv4 and AsIPv6, which know only one
	errShortIPv4    Malformed = "shorter than the 20 bytes of an IPv4 header"
	errShortIPv6    Malformed = "shorter than the 40 bytes of an IPv6 header"
	errHeaderLength Malformed = "IPv4 header length is under 20 bytes, or beyond the packet"
	errLength       Malformed = "length field differs from the number of bytes"
)

// The other faults that Parse finds.
const (
	errOption           Malformed = "IPv4 option has an impossible length"
	errFragmentEnd      Malformed = "fragment ends beyond 65535 bytes"
	errFragmentLength   Malformed = "fragment is not the last, but its length is no multiple of 8 bytes"
	errExtensionLength  Malformed = "IPv6 extension header goes beyond the packet"
	errExtensionOrder   Malformed = "IPv6 hop-by-hop header is not the first"
	errExtensionCount   Malformed = "more than 16 IPv6 extension headers"
	errShortTCP         Malformed = "shorter than the 20 bytes of a TCP header"
	errTCPHeaderLength  Malformed = "TCP header length is under 20 bytes, or beyond the packet"
	errShortUDP         Malformed = "shorter than the 8 bytes of a UDP header"
	errUDPLength        Malformed = "UDP length is under 8 bytes, or beyond the packet"
	errShortICMP        Malformed = "shorter than the 4 bytes of an ICMP header"
	errShortICMPMessage Malformed = "shorter than an ICMP message of this type"
)
