package fast

import (
	"encoding/binary"

	"stepvpn/shared/link"
)

// Explicit congestion notification: the last two bits of the traffic class (RFC
// 3168, section 5). A router that has too much to do marks packets instead of
// dropping them, if their sender has said that it understands.
const (
	notECT = 0 // the sender does not
	ect1   = 1 // it does
	ect0   = 2 // it does
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

// outerClass returns the class to send p with: its ECN bits as they are (RFC
// 6040, section 4.1), so that routers can mark it, and DSCP if that is wanted
// (RFC 2983).
func outerClass(p []byte, dscp bool) byte {
	if dscp {
		return classOf(p)
	}
	return classOf(p) & ecnBits
}

// unmark brings the marks of the outer header to the packets of a burst, and
// drops those that cannot bear them.
func unmark(b *link.Burst, drops *link.Drops) {
	outer := b.Class & ecnBits
	if outer == notECT || outer == ect0 {
		return // nothing to bring
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

// innerECN returns the ECN bits of p when it leaves a tunnel in which it had the
// outer ones. It is the table of RFC 6040, section 4.2. It reports false for a
// packet that is to be dropped: to who does not understand marks, a router would
// have said it so.
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

// setECN sets the ECN bits of p, and corrects IPv4's checksum for it (RFC 1624,
// equation 3). A packet that is too short to be one stays what it is.
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
