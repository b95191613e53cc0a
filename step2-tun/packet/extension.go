package packet

import "encoding/binary"

// readExtensions follows the chain of IPv6 extension headers (RFC 8200, section
// 4): each begins with the number of the header that follows it. It stops, with the
// number in Protocol, at
//
//   - a protocol that is not an extension header, such as TCP;
//   - ESP, because what follows is encrypted (RFC 4303);
//   - "no next header": what follows must be ignored (section 4.7);
//   - the fragment header of a later piece: what follows is from the middle of
//     the payload, not a header (section 4.5).
//
// It returns the bytes after the last header that it read.
func (k *Packet) readExtensions(next Protocol, b []byte) ([]byte, error) {
	all := len(b)
	for {
		k.Protocol = next
		if !next.isExtension() {
			return b, nil
		}
		if len(k.Extensions) == maxExtensions {
			return nil, errExtensionCount
		}
		if next == HopByHop && len(k.Extensions) > 0 {
			return nil, errExtensionOrder
		}
		if len(b) < 8 { // the shortest extension header
			return nil, errExtensionLength
		}
		n := extensionLen(next, b)
		if n > len(b) {
			return nil, errExtensionLength
		}
		k.Extensions = append(k.Extensions, next)
		header := b[:n]
		b = b[n:]
		if next == FragmentHeader {
			k.Fragment = fragmentOf(header)
			if err := k.Fragment.check(all-n-len(b), len(b)); err != nil {
				return nil, err
			}
		}
		next = Protocol(header[0])
		if k.Fragment.Offset > 0 {
			k.Protocol = next
			return b, nil
		}
	}
}

// maxExtensions bounds how many extension headers are followed. Real packets
// have one or two, and each kind at most twice.
const maxExtensions = 16

// isExtension reports whether we can step over p to the next header.
func (p Protocol) isExtension() bool {
	switch p {
	case HopByHop, Routing, FragmentHeader, AH, DestinationOptions:
		return true
	}
	return false
}

// extensionLen returns the length in bytes of the extension header that b
// begins with; b has 8 bytes or more.
func extensionLen(p Protocol, b []byte) int {
	switch p {
	case FragmentHeader:
		return 8
	case AH:
		return (int(b[1]) + 2) * 4 // in units of 4 bytes, minus 2 (RFC 4302, section 2.2)
	default:
		return (int(b[1]) + 1) * 8 // in units of 8 bytes, without the first 8
	}
}

// fragmentOf reads a fragment header (RFC 8200, section 4.5):
//
//	+-------------+----------+--------------------------+---+-+
//	| Next header | Reserved | Offset in units of 8 (13)|Res|M|  0
//	+-------------+----------+--------------------------+---+-+
//	|                     Identification                      |  4
//	+---------------------------------------------------------+
//
// A packet may be fragmented into a single piece (RFC 6946): then the Fragment
// has an ID, but is not set.
func fragmentOf(b []byte) Fragment {
	word := binary.BigEndian.Uint16(b[2:])
	return Fragment{
		ID:     binary.BigEndian.Uint32(b[4:]),
		Offset: int(word &^ 7),
		More:   word&1 != 0,
	}
}
