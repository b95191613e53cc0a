package fast

import (
	"encoding/binary"

	"stepvpn/shared/link"
)

// This file carries congestion marks (ECN, RFC 6040) from a packet to its outer header, and
// from that back to the packet.

// Explicit congestion notification (ECN): the last two bits of the traffic class (RFC 3168,
// section 5). A congested router marks packets instead of dropping them, if their sender has
// said that it supports that.
const (
	notECT = 0 // the sender does not support it
	ect1   = 1 // the sender supports it
	ect0   = 2 // the sender supports it
	ce     = 3 // marked: congestion experienced

	ecnBits = 3
)

// classOf returns the traffic class of an IP packet.
func classOf(p []byte) byte {
	if p[0]>>4 == 6 && len(p) > 1 {
		return p[0]<<4 | p[1]>>4
	}
	if p[0]>>4 == 4 && len(p) > 1 {
		return p[1]
	}
	return 0
}

// outerClass returns the class to send p with. It keeps p's ECN bits (RFC 6040, section 4.1),
// so that routers can mark the packet, but not its DSCP (RFC 2983), which would show an
// observer which packets are urgent.
func outerClass(p []byte) byte { return classOf(p) & ecnBits }

// unmark copies the mark in the outer header to the packets of a burst, and drops packets
// whose sender does not support marks.
func unmark(b *link.Burst, drops *link.Drops) {
	outer := b.Hints.Class & ecnBits
	if outer == notECT || outer == ect0 {
		return // there is no mark
	}
	kept := 0
	for i := range b.Len() {
		p := b.At(i)
		ecn, ok := innerECN(p, outer)
		if !ok {
			drops.Add(Congested)
			continue
		}
		setECN(p, ecn)
		b.Set(kept, p)
		kept++
	}
	b.Truncate(kept)
}

// innerECN returns the ECN bits for p when it leaves the tunnel, from its own bits and the
// outer header's, by the table of RFC 6040, section 4.2. It reports false for a packet that
// is to be dropped: if the sender does not support marks, a router would have dropped it.
func innerECN(p []byte, outer byte) (ecn byte, ok bool) {
	if len(p) == 0 {
		return 0, true
	}
	inner := classOf(p) & ecnBits
	switch {
	case inner == notECT:
		return notECT, outer != ce
	case outer == ce:
		return ce, true
	case outer == ect1 && inner == ect0:
		return ect1, true
	}
	return inner, true
}

// setECN sets the ECN bits of p, and updates IPv4's checksum (RFC 1624, equation 3). It does
// not change a packet that is too short for an IP header.
func setECN(p []byte, ecn byte) {
	switch {
	case len(p) >= ipv4Len && p[0]>>4 == 4:
		before := binary.BigEndian.Uint16(p)
		p[1] = p[1]&^ecnBits | ecn
		after := binary.BigEndian.Uint16(p)
		if before != after {
			sum := uint64(^binary.BigEndian.Uint16(p[10:])) + uint64(^before) + uint64(after)
			binary.BigEndian.PutUint16(p[10:], ^fold(sum))
		}
	case len(p) >= ipv6Len && p[0]>>4 == 6:
		p[1] = p[1]&^(ecnBits<<4) | ecn<<4
	}
}
