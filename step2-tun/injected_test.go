package step2_test

import (
	"encoding/binary"
	"slices"

	"stepvpn/step2-tun/packet"
)

// injectedPackets are well-formed, and of kinds that the host's own programs do
// not send here.
func injectedPackets() [][]byte {
	return [][]byte{
		ipv4(6, tcp(0x12)), // SYN+ACK
		ipv4(6, tcp(0xff)),
		ipv4(6, tcp(0)),
		ipv4(1, []byte{0, 0, 0, 0, 0, 7, 0, 1}), // echo reply
		ipv4(47, []byte{0, 0, 0x08, 0}),         // GRE
		ipv4(253, make([]byte, 12)),
		badChecksum(ipv4(6, tcp(0x10))),
		ipv6(6, tcp(0x11)),
		ipv6(59, nil),
		ipv6(50, []byte{0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0}), // ESP
		// AH before TCP: next header, length, 2 reserved, SPI, sequence, check value.
		ipv6(51, append([]byte{6, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, tcp(0x10)...)),
		// Routing header of type 2 with one address, none of it left to visit.
		ipv6(43, append([]byte{6, 2, 2, 0, 0, 0, 0, 0, 0xfd, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}, tcp(0x10)...)),
	}
}

func ipv4(protocol byte, payload []byte) []byte {
	h := []byte{0x45, 0, 0, 0, 0x12, 0x34, 0, 0, 64, protocol, 0, 0, 10, 8, 0, 1, 10, 8, 0, 2}
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(payload)))
	binary.BigEndian.PutUint16(h[10:], packet.Checksum(h))
	return append(h, payload...)
}

func badChecksum(p []byte) []byte {
	p = slices.Clone(p)
	p[10]++
	return p
}

func ipv6(next byte, payload []byte) []byte {
	h := make([]byte, 40)
	h[0], h[6], h[7] = 0x60, next, 64
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	copy(h[8:], []byte{0xfd, 0, 0, 8, 15: 1})
	copy(h[24:], []byte{0xfd, 0, 0, 8, 15: 2})
	return append(h, payload...)
}

// tcp is a header from port 1 to port 2.
func tcp(flags byte) []byte {
	return []byte{0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0}
}
