package fast

import (
	"encoding/binary"
	"math/bits"
)

// add adds the 16-bit words of b to a one's complement sum (RFC 1071). A last
// odd byte counts as the upper half of a word. A carry out of the 64 bits comes
// in again at the lower end, and so it works out for words of any width (section
// 2, C).
func add(sum uint64, b []byte) uint64 {
	var carry uint64
	for len(b) >= 64 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[8:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[16:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[24:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[32:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[40:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[48:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[56:]), carry)
		b = b[64:]
	}
	for len(b) >= 8 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
		b = b[8:]
	}
	if len(b) > 0 {
		var last [8]byte
		copy(last[:], b)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(last[:]), carry)
	}
	return addWord(sum, carry)
}

// addWord adds a single number to a sum.
func addWord(sum, n uint64) uint64 {
	sum, carry := bits.Add64(sum, n, 0)
	return sum + carry
}

// fold brings a sum down to 16 bits. The checksum is its complement.
func fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return uint16(sum)
}
