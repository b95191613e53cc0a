package packet

import "encoding/binary"

// An ICMP holds what the header of an ICMP message (RFC 792) or of an ICMPv6 message
// (RFC 4443) says: the two differ only in their numbers.
//
//	+---------------+---------------+-------------------------------+
//	|     Type      |     Code      |           Checksum            |  0
//	+---------------+---------------+-------------------------------+
//	|        Depends on the type; of an echo, ID and Seq            |  4
//	+---------------------------------------------------------------+
type ICMP struct {
	Type, Code uint8
	Name       string // of the type, or of type and code; "" if it is not listed here
	Echo       bool   // a ping or its answer, which have ID and Seq
	ID, Seq    uint16
	MTU        int // in "packet too big": how many bytes would have fitted; else 0
}

// icmpHeaderLen is the length in bytes of the header that every message has.
const icmpHeaderLen = 4

// icmpNames has the types that occur in practice
// (https://www.iana.org/assignments/icmp-parameters).
var icmpNames = map[uint8]string{
	0:  "echo reply",
	3:  "destination unreachable",
	5:  "redirect",
	8:  "echo request",
	9:  "router advertisement",
	10: "router solicitation",
	11: "time exceeded",
	12: "parameter problem",
	13: "timestamp request",
	14: "timestamp reply",
}

// icmpUnreachable has the codes of type 3.
var icmpUnreachable = map[uint8]string{
	0:  "network unreachable",
	1:  "host unreachable",
	2:  "protocol unreachable",
	3:  "port unreachable",
	4:  "packet too big", // "fragmentation needed and DF set"
	13: "administratively prohibited",
}

// readICMP reads the message that b begins with.
func readICMP(b []byte) (*ICMP, error) {
	if len(b) < icmpHeaderLen {
		return nil, errShortICMP
	}
	m := &ICMP{Type: b[0], Code: b[1], Name: icmpNames[b[0]]}
	switch m.Type {
	case 0, 8:
		return m, m.readEcho(b)
	case 3:
		if name, ok := icmpUnreachable[m.Code]; ok {
			m.Name = name
		}
		if m.Code != 4 {
			break
		}
		if len(b) < 8 {
			return m, errShortICMPMessage
		}
		m.MTU = int(binary.BigEndian.Uint16(b[6:])) // RFC 1191, section 4
	}
	return m, nil
}

// readEcho reads the fields of a ping and of its answer, in both versions.
func (m *ICMP) readEcho(b []byte) error {
	if len(b) < 8 {
		return errShortICMPMessage
	}
	m.Echo = true
	m.ID = binary.BigEndian.Uint16(b[4:])
	m.Seq = binary.BigEndian.Uint16(b[6:])
	return nil
}
