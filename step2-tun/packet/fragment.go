package packet

// A Fragment tells which part of a larger packet this one carries. The zero
// value belongs to a packet that is whole.
//
// IPv4 has it in the header (RFC 791, section 3.2), IPv6 in an extension header
// (RFC 8200, section 4.5).
type Fragment struct {
	ID     uint32 // the same in all pieces of one packet
	Offset int    // bytes of the whole payload that lie before this piece
	More   bool   // there are pieces behind this one
}

// IsSet reports whether the packet is a piece.
func (f Fragment) IsSet() bool { return f.Offset > 0 || f.More }

// check refuses a piece of n bytes that fits into no packet. In the whole packet, front
// bytes that count as well lie before the payload: the IP length field, whose limit is
// 65,535, includes the header of IPv4 and the extension headers of IPv6. The first rule is
// broken by the "ping of death", which once crashed hosts.
func (f Fragment) check(front, n int) error {
	if !f.IsSet() {
		return nil
	}
	if front+f.Offset+n > 65535 {
		return errFragmentEnd
	}
	if f.More && n%8 != 0 {
		return errFragmentLength
	}
	return nil
}
