package packet

import "encoding/binary"

// EchoReply turns p, an ICMP echo request over IPv4, into its answer (type 0), in place,
// and reports whether it has done so (RFC 792; RFC 1122, section 3.2.2.6). The answer goes
// to the sender with the same ID, sequence number and data, and may take 64 hops.
//
// It leaves any other p as it is: one that is not whole, or a piece of a larger packet;
// one with options, as the answer would need others; one with a wrong checksum; one that
// is no echo request (type 8, code 0) of 8 bytes or more; and one whose sender or receiver
// is not one single host (see netip.Addr.IsGlobalUnicast).
//
//exercise:3
func EchoReply(p []byte) bool {
	h, err := AsIPv4(p)
	if err != nil || h.Fragment().IsSet() || h.HeaderLen() > IPv4HeaderLen || !h.ChecksumOK() || h.Protocol() != ProtoICMP {
		return false
	}
	if !h.Src().IsGlobalUnicast() || !h.Dst().IsGlobalUnicast() {
		return false
	}
	m := h.Payload()
	if len(m) < 8 || m[0] != 8 || m[1] != 0 || Checksum(m) != 0 {
		return false
	}
	src, dst := h.Src().As4(), h.Dst().As4()
	copy(p[12:], dst[:])
	copy(p[16:], src[:])
	p[8] = 64
	binary.BigEndian.PutUint16(p[10:], 0) // a checksum is computed as if it were 0 itself
	binary.BigEndian.PutUint16(p[10:], Checksum(p[:IPv4HeaderLen]))
	m[0] = 0
	binary.BigEndian.PutUint16(m[2:], 0)
	binary.BigEndian.PutUint16(m[2:], Checksum(m))
	return true
}
