package fast

import (
	"encoding/binary"
	"math/bits"
)

// add adds the 16-bit words of b to a one's complement sum (RFC 1071). A last
// odd byte counts as the upper half of a word.
//
// Every byte that goes through a tunnel is summed twice, so this is made for speed, with
// the methods of RFC 1071, section 2. A carry out of the 64 bits is added as 1, so words of
// any width may be added (C). Words in the other byte order give the sum in the other byte
// order (B), and most machines read little-endian words faster. Two separate sums let the
// processor work on both at the same time.
func add(sum uint64, b []byte) uint64 {
	var x, y, carries, c, d uint64
	for len(b) >= 64 {
		x, c = bits.Add64(x, binary.LittleEndian.Uint64(b), 0)
		x, c = bits.Add64(x, binary.LittleEndian.Uint64(b[8:]), c)
		x, c = bits.Add64(x, binary.LittleEndian.Uint64(b[16:]), c)
		x, c = bits.Add64(x, binary.LittleEndian.Uint64(b[24:]), c)
		y, d = bits.Add64(y, binary.LittleEndian.Uint64(b[32:]), 0)
		y, d = bits.Add64(y, binary.LittleEndian.Uint64(b[40:]), d)
		y, d = bits.Add64(y, binary.LittleEndian.Uint64(b[48:]), d)
		y, d = bits.Add64(y, binary.LittleEndian.Uint64(b[56:]), d)
		carries += c + d
		b = b[64:]
	}
	for len(b) >= 8 {
		x, c = bits.Add64(x, binary.LittleEndian.Uint64(b), 0)
		carries += c
		b = b[8:]
	}
	if len(b) > 0 {
		var last [8]byte
		copy(last[:], b)
		y, d = bits.Add64(y, binary.LittleEndian.Uint64(last[:]), 0)
		carries += d
	}
	little := fold(addWord(addWord(x, y), carries))
	return addWord(sum, uint64(bits.ReverseBytes16(little)))
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
