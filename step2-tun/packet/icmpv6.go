package packet

import (
	"encoding/binary"
	"math"
)

// readICMPv6 reads the ICMPv6 message (RFC 4443) that b begins with.
func readICMPv6(b []byte) (*ICMP, error) {
	if len(b) < icmpHeaderLen {
		return nil, errShortICMP
	}
	m := &ICMP{Type: b[0], Code: b[1], Name: icmpv6Names[b[0]]}
	switch m.Type {
	case 1:
		if name, ok := icmpv6Unreachable[m.Code]; ok {
			m.Name = name
		}
	case 2:
		if len(b) < 8 {
			return m, errShortICMPMessage
		}
		mtu := binary.BigEndian.Uint32(b[4:])
		m.MTU = int(min(mtu, math.MaxInt32)) // an int has 32 bits on some machines
	case 128, 129:
		return m, m.readEcho(b)
	}
	return m, nil
}

// icmpv6Names has the types that occur in practice
// (https://www.iana.org/assignments/icmpv6-parameters).
var icmpv6Names = map[uint8]string{
	1:   "destination unreachable",
	2:   "packet too big",
	3:   "time exceeded",
	4:   "parameter problem",
	128: "echo request",
	129: "echo reply",
	130: "multicast listener query",
	131: "multicast listener report",
	132: "multicast listener done",
	133: "router solicitation",
	134: "router advertisement",
	135: "neighbor solicitation",
	136: "neighbor advertisement",
	137: "redirect",
	143: "multicast listener report v2",
}

// icmpv6Unreachable has the codes of type 1 (RFC 4443, section 3.1).
var icmpv6Unreachable = map[uint8]string{
	0: "no route to destination",
	1: "administratively prohibited",
	3: "address unreachable",
	4: "port unreachable",
}
