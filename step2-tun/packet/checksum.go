package packet

import "encoding/binary"

// Checksum returns the internet checksum of b (RFC 1071): the complement of the
// one's complement sum of its 16-bit words, where a last odd byte counts as the
// upper half of a word. Over a header that contains its own checksum it is 0 if
// the header is intact.
//
// The sum may be taken over words of any width, and folded at the end (RFC
// 1071, section 2, C), so this adds four bytes at a time. b may have up to 128 KB,
// twice as much as the longest packet.
//
//exercise:1
func Checksum(b []byte) uint16 {
	var sum uint64
	for ; len(b) >= 4; b = b[4:] {
		sum += uint64(binary.BigEndian.Uint32(b))
	}
	if len(b) >= 2 {
		sum += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint64(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff // the carry is added at the other end
	}
	return ^uint16(sum)
}
